"""Fused MoE LoRA as the tuner sees it: six kernels over one kind of problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from autotune.contract import Call, Config, Floor, Gpu, Parameter
from autotune.errors import InputError
from autotune.kernels.common.execution import DeclaredKernel, Execution
from autotune.kernels.common.tiles import integers
from autotune.kernels.fused_moe_lora import space as rules
from autotune.kernels.fused_moe_lora.problem import (
    BLOCK_MS,
    DOWN,
    GATE_UP,
    MoeProblem,
    MoeSide,
    problem_from_flags,
)
from autotune.kernels.fused_moe_lora.serving import serving_note
from autotune.kernels.fused_moe_lora.sizes import MoeSizes
from autotune.servers.vllm import facts, moe
from autotune.servers.vllm.server import VLLM


class _FusedMoeLora(DeclaredKernel[MoeProblem]):
    """What all six kernels share.

    Attributes:
        side: gate_up (w13) or down (w2).
        op: The op whose config file the server reads, ``shrink`` or ``expand``.
        path: On which a server runs the kernel.
    """

    problem_type = MoeProblem
    spaces = rules.SPACES
    server = facts.NAME
    side: ClassVar[MoeSide]
    op: ClassVar[str]
    path: ClassVar[facts.ServerPath] = facts.TWO_KERNEL

    def problem_from_flags(self, flags: Mapping[str, Any]) -> MoeProblem:
        return problem_from_flags(flags, self.side)

    def call(self, problem: MoeProblem) -> Call:
        """Returns the lookup: for both ops, k is what the shrink leaves of the rank, and n the whole hidden size
        (contracts A1)."""
        p, side = problem, self.side
        dims = {"max_loras": p.max_loras, "num_slices": side.slices(p), "m": p.m, "k": side.shrunk(p), "n": p.hidden}
        return Call("vllm", f"fused_moe_lora_{side.weight}_{self.op}", {**dims, "i": p.intermediate})

    def shards(self, problem: MoeProblem) -> int:
        return problem.tp

    def serving_note(self, problem: MoeProblem, grouped: bool) -> str:
        return serving_note(problem, self.path, grouped)

    def default_config(self, problem: MoeProblem, gpu: Gpu) -> Config:
        return self.canonical(problem, self._built_in(problem), gpu)

    def _built_in(self, problem: MoeProblem) -> Config:
        """Returns what vLLM takes without a file, as far as the kernel reads it."""
        built_in = VLLM.default_config(self.call(problem))
        return {parameter.name: built_in[parameter.name] for parameter in self.parameters(problem, rules.SPACES[0])}


class _Shrink(_FusedMoeLora):
    """First kernel of the two-kernel path (contracts A6)."""

    op = "shrink"

    @property
    def execution(self) -> Execution[MoeProblem, Any]:
        from autotune.kernels.fused_moe_lora.execution import MoeShrinkExecution  # needs torch

        return MoeShrinkExecution(self.side)

    def parameters(self, problem: MoeProblem, space: str) -> tuple[Parameter, ...]:
        return rules.shrink_parameters(problem, self.side, space)

    def canonical(self, problem: MoeProblem, config: Config, gpu: Gpu) -> Config:
        return rules.shrink_canonical(problem, self.side, config)

    def infeasible(self, problem: MoeProblem, config: Config, gpu: Gpu) -> str | None:
        return rules.shrink_infeasible(problem, self.side, config, gpu)

    def cannot_run(self, call: Call, config: Config, shared_bytes: int) -> str | None:
        return rules.shrink_cannot_run(call.dims["k"], config, shared_bytes)

    def floor(self, problem: MoeProblem) -> Floor:
        s = MoeSizes(problem, self.side)
        out = problem.pairs * s.slices * s.shrunk
        weights = s.weights(s.shrunk, s.depth)
        return Floor(2 * (s.live_rows * s.depth + weights + out), s.flops(s.shrunk, s.depth))


class _Expand(_FusedMoeLora):
    """Second kernel of the two-kernel path (contracts A6)."""

    op = "expand"

    @property
    def execution(self) -> Execution[MoeProblem, Any]:
        from autotune.kernels.fused_moe_lora.execution import MoeExpandExecution  # needs torch

        return MoeExpandExecution(self.side)

    def parameters(self, problem: MoeProblem, space: str) -> tuple[Parameter, ...]:
        return rules.expand_parameters(problem, self.side, space)

    def canonical(self, problem: MoeProblem, config: Config, gpu: Gpu) -> Config:
        return rules.expand_canonical(problem, self.side, config)

    def infeasible(self, problem: MoeProblem, config: Config, gpu: Gpu) -> str | None:
        return rules.expand_infeasible(problem, self.side, config, gpu)

    def cannot_run(self, call: Call, config: Config, shared_bytes: int) -> str | None:
        return rules.expand_cannot_run(call.dims["k"], config, shared_bytes)

    def floor(self, problem: MoeProblem) -> Floor:
        s, rank = MoeSizes(problem, self.side), problem.rank
        x = s.live_pairs * s.slices * rank
        return Floor(2 * (x + s.weights(rank, s.width) + s.written), s.flops(rank, s.width))


class _OneShot(_FusedMoeLora):
    """Both in one launch, which reads block_m of the shrink's config and nothing else (contracts A3, A6)."""

    op = "shrink"
    path = facts.ONE_SHOT

    @property
    def execution(self) -> Execution[MoeProblem, Any]:
        from autotune.kernels.fused_moe_lora.execution import MoeOneShotExecution  # needs torch

        return MoeOneShotExecution(self.side)

    def answers(self, call: Call, config: Config) -> list[tuple[Call, Config]]:
        """Shrink's and expand's: the server reads block_m alone, what else stands there are the defaults."""
        halves = [replace(call, op=op) for op in moe.halves(call.op)]
        return [(half, {**VLLM.default_config(half), **config}) for half in halves]

    def is_read(self, problem: MoeProblem) -> bool:
        """So few pairs that they are not sorted have blocks of one size (contracts A6)."""
        return not problem.naive

    def problem_from_flags(self, flags: Mapping[str, Any]) -> MoeProblem:
        """
        Raises:
            InputError: Also where a server would run two kernels.
        """
        problem = super().problem_from_flags(flags)
        if problem.fully_sharded:
            raise InputError(
                "--fully-sharded: got 1, allowed: 0 for a one-shot kernel (between its two products a fully sharded "
                "server gathers the rank from other GPUs); tune the shrink and expand kernels"
            )
        if problem.rank > facts.ONE_SHOT_RANKS:
            raise InputError(
                f"--lora-rank: got {problem.rank}, allowed: at most {facts.ONE_SHOT_RANKS} for a one-shot kernel (it "
                "keeps the rank in registers); tune the shrink and expand kernels"
            )
        return problem

    def parameters(self, problem: MoeProblem, space: str) -> tuple[Parameter, ...]:
        return (Parameter("block_m", BLOCK_MS),)

    def default_config(self, problem: MoeProblem, gpu: Gpu) -> Config:
        return self._built_in(problem)

    def canonical(self, problem: MoeProblem, config: Config, gpu: Gpu) -> Config:
        """Naive blocks have 16 rows, no matter what the file says."""
        return self.default_config(problem, gpu) if problem.naive else config

    def infeasible(self, problem: MoeProblem, config: Config, gpu: Gpu) -> str | None:
        return None if problem.naive else rules.rows_infeasible(problem, integers(config)["block_m"])

    def floor(self, problem: MoeProblem) -> Floor:
        s = MoeSizes(problem, self.side)
        rank, columns = problem.rank, s.depth + s.width
        bytes_ = 2 * (s.live_rows * s.depth + s.weights(rank, columns) + s.written)
        return Floor(bytes_, s.flops(rank, columns))


class GateUpShrink(_Shrink):
    name = "fused_moe_lora_gate_up_shrink"
    aliases = (facts.W13_SHRINK,)
    side = GATE_UP


class GateUpExpand(_Expand):
    name = "fused_moe_lora_gate_up_expand"
    aliases = (facts.W13_EXPAND,)
    side = GATE_UP


class GateUpOneShot(_OneShot):
    name = "fused_moe_lora_gate_up_one_shot"
    side = GATE_UP


class DownShrink(_Shrink):
    name = "fused_moe_lora_down_shrink"
    aliases = (facts.W2_SHRINK,)
    side = DOWN


class DownExpand(_Expand):
    name = "fused_moe_lora_down_expand"
    aliases = (facts.W2_EXPAND,)
    side = DOWN


class DownOneShot(_OneShot):
    name = "fused_moe_lora_down_one_shot"
    side = DOWN


KERNELS = [GateUpShrink(), GateUpExpand(), GateUpOneShot(), DownShrink(), DownExpand(), DownOneShot()]
