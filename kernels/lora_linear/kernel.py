"""LoRA of a linear layer as the tuner sees it: its space and what it costs at least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.contract import Call, Config, Floor, Gpu, Parameter
from autotune.contract.source import BUILTIN
from autotune.kernels.common.execution import DeclaredKernel, Execution
from autotune.kernels.common.problem import fields_from_flags, required
from autotune.kernels.common.sliced_problem import slices_from_flags
from autotune.kernels.common.tiles import integers
from autotune.kernels.lora_linear import defaults
from autotune.kernels.lora_linear import space as pair_space
from autotune.kernels.lora_linear.cost import estimate_us
from autotune.kernels.lora_linear.problem import LoraLinearProblem
from autotune.servers.vllm import facts
from autotune.servers.vllm.linear import APART, is_apart


class LoraLinear(DeclaredKernel[LoraLinearProblem]):
    """Our ``lora_linear``, in the place of vLLM's ``add_lora_linear`` (contracts A15)."""

    name = "lora_linear"
    aliases = ("linear",)
    problem_type = LoraLinearProblem
    server = "vllm"

    @property
    def execution(self) -> Execution[LoraLinearProblem, Any]:
        from autotune.kernels.lora_linear.execution import LoraLinearExecution  # needs torch

        return LoraLinearExecution()

    def problem_from_flags(self, flags: Mapping[str, Any]) -> LoraLinearProblem:
        """Reads k from ``--hidden-size``, and n from ``--slice-widths``; without them the layer is square."""
        k, slices = required(flags, "hidden_size"), slices_from_flags(flags)
        return LoraLinearProblem(
            k=k,
            n=max(slices["slice_widths"], default=k),
            lora_rank=required(flags, "lora_rank"),
            **slices,
            **fields_from_flags(flags),
        )

    def parameters(self, problem: LoraLinearProblem, space: str) -> tuple[Parameter, ...]:
        return pair_space.parameters(problem)

    def default_config(self, problem: LoraLinearProblem, gpu: Gpu) -> Config:
        """Returns what stands for shrink and expand apart: what the pair has to beat."""
        return APART

    def own_default(self, problem: LoraLinearProblem, gpu: Gpu) -> Config | None:
        p = problem
        return defaults.default_config(p.m, p.k, p.rank, p.n, p.num_slices)

    def infeasible(self, problem: LoraLinearProblem, config: Config, gpu: Gpu) -> str | None:
        return None if is_apart(config) else pair_space.infeasible(problem, integers(config), gpu)

    def floor(self, problem: LoraLinearProblem) -> Floor:
        p = problem
        tokens, columns = p.m - p.base_tokens, sum(p.slice_widths)
        weights = p.adapters_read * p.rank * (p.num_slices * p.k + columns)
        out = tokens * columns * (2 if p.add_inputs else 1)
        flops = 2 * p.m * p.rank * (p.num_slices * p.k + columns)
        return Floor(2 * (tokens * p.k + weights + out), flops)

    def estimate_us(self, problem: LoraLinearProblem, config: Config, gpu: Gpu) -> float:
        return estimate_us(problem, integers(config), gpu)

    def recording(self, problem: LoraLinearProblem) -> str | None:
        p = problem
        sizes = f"M{p.m}_K{p.k}_R{p.rank}_N{p.n}_L{p.max_loras}_S{p.num_slices}"
        return f"{BUILTIN}_{facts.LINEAR}_{sizes}" if p.recordable and p.same_width and p.add_inputs else None

    def call(self, problem: LoraLinearProblem) -> Call:
        p = problem
        sizes = {"m": p.m, "k": p.k, "rank": p.rank, "n": p.n}
        return Call(facts.NAME, facts.LINEAR, {"max_loras": p.max_loras + 1, "num_slices": p.num_slices, **sizes})


KERNELS = [LoraLinear()]
