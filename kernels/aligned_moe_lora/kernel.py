"""The experts' kernel in the server's place as the tuner sees it: one for each side of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, cast

from autotune.contract import Call, Config, Floor, Gpu, Parameter
from autotune.kernels.aligned_moe_lora import space as rules
from autotune.kernels.aligned_moe_lora.cost import estimate_us
from autotune.kernels.aligned_moe_lora.defaults import LaunchShape, default_config, servers_is_faster
from autotune.kernels.aligned_moe_lora.problem import AlignedMoeProblem
from autotune.kernels.aligned_moe_lora.space import Product
from autotune.kernels.common.execution import DeclaredKernel, Execution
from autotune.kernels.common.tiles import integers
from autotune.kernels.fused_moe_lora.padding import padded_width
from autotune.kernels.fused_moe_lora.problem import DOWN, GATE_UP, MoeSide, problem_from_flags
from autotune.kernels.fused_moe_lora.sizes import MoeSizes
from autotune.servers.vllm import facts


class _AlignedMoeLora(DeclaredKernel[AlignedMoeProblem]):
    """What both sides share: shrink and expand in one launch, with the server's block_m.

    Attributes:
        side: gate_up (w13) or down (w2).
        op: The op whose file our plug-in reads (contracts A17).
    """

    problem_type = AlignedMoeProblem
    server = facts.NAME
    side: ClassVar[MoeSide]
    op: ClassVar[str]

    @property
    def execution(self) -> Execution[AlignedMoeProblem, Any]:
        from autotune.kernels.aligned_moe_lora.execution import AlignedMoeExecution  # needs torch

        # It takes the problems of all experts, of which these are some.
        return cast("Execution[AlignedMoeProblem, Any]", AlignedMoeExecution(self.side))

    def problem_from_flags(self, flags: Mapping[str, Any]) -> AlignedMoeProblem:
        """Reads ``--block-m``: what a server aligns to with a config folder without an entry, where it is not given."""
        found = asdict(problem_from_flags(flags, self.side))
        return AlignedMoeProblem(**found, block_m=int(flags.get("block_m") or facts.MOE_FALLBACK["block_m"] or 0))

    def call(self, problem: AlignedMoeProblem) -> Call:
        p = problem
        dims = {"max_loras": p.max_loras, "num_slices": self.side.slices(p), "m": p.m, "k": p.rank, "n": p.hidden}
        return Call(facts.NAME, self.op, {**dims, "i": p.intermediate})

    def parameters(self, problem: AlignedMoeProblem, space: str) -> tuple[Parameter, ...]:
        return rules.parameters(self._product(problem), problem.block_m)

    def default_config(self, problem: AlignedMoeProblem, gpu: Gpu) -> Config:
        """Returns what the plug-in launches without an entry, where it does not leave the call to the server."""
        p, product = problem, self._product(problem)
        shape = LaunchShape(
            block_m=p.block_m,
            slices=self.side.slices(p),
            adapters=p.max_loras,
            rank=p.rank,
            k=product.k,
            n=product.n,
            tokens=p.m,
            top_k=p.top_k,
            experts=p.num_experts,
            sms=gpu.sms,
            shared_bytes=gpu.shared_bytes,
        )
        return default_config(shape)

    def unfit(self, problem: AlignedMoeProblem, config: Config) -> str | None:
        if config["block_m"] == problem.block_m:
            return None
        return f"block_m: got {config['block_m']}, but rows are aligned to {problem.block_m}: as without an entry"

    def is_left_without_entry(self, problem: AlignedMoeProblem) -> bool:
        return servers_is_faster(problem.block_m, problem.pairs, problem.num_experts)

    def infeasible(self, problem: AlignedMoeProblem, config: Config, gpu: Gpu) -> str | None:
        return rules.infeasible(self._product(problem), integers(config), gpu)

    def estimate_us(self, problem: AlignedMoeProblem, config: Config, gpu: Gpu) -> float:
        p = problem
        busy = min(p.local_pairs, p.most_groups + p.local_pairs // p.block_m) * self.side.slices(p)
        idle = max(0, self._row_blocks(p) * (p.max_loras + 1) - busy)
        return estimate_us(self._product(p), (busy, idle), integers(config), gpu)

    def floor(self, problem: AlignedMoeProblem) -> Floor:
        s = MoeSizes(problem, self.side)
        columns = s.depth + s.width
        bytes_ = 2 * (s.live_rows * s.depth + s.weights(problem.rank, columns) + s.written)
        return Floor(bytes_, s.flops(problem.rank, columns))

    def _product(self, problem: AlignedMoeProblem) -> Product:
        return Product(problem.rank, self.side.depth(problem), self.side.width(problem))

    def _row_blocks(self, problem: AlignedMoeProblem) -> int:
        """Counts the blocks of rows of an adapter in the grid, over all slices."""
        p = problem
        return padded_width(p.pairs, p.all_experts, p.block_m) // p.block_m * self.side.slices(p)


class AlignedGateUp(_AlignedMoeLora):
    name = "aligned_moe_lora_gate_up"
    aliases = (facts.ALIGNED_W13,)
    side = GATE_UP
    op = facts.ALIGNED_W13


class AlignedDown(_AlignedMoeLora):
    name = "aligned_moe_lora_down"
    aliases = (facts.ALIGNED_W2,)
    side = DOWN
    op = facts.ALIGNED_W2


KERNELS = [AlignedGateUp(), AlignedDown()]
