"""LoRA of a linear layer as the tuner sees it: problems, space, inputs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autotune.contract import Call, Config, Expected, Floor, Gpu, Kernel, Launch, Parameter
from autotune.errors import InputError
from autotune.kernels.common.metadata import random_metadata
from autotune.kernels.common.normal import Normal
from autotune.kernels.common.problem import fields_from_flags, required
from autotune.kernels.common.sliced_problem import SlicedProblem, slices_from_flags
from autotune.kernels.common.tiles import integers
from autotune.kernels.lora_expand.launcher import LoraExpandArguments
from autotune.kernels.lora_linear import space as pair_space
from autotune.kernels.lora_linear.cost import estimate_us
from autotune.kernels.lora_linear.launcher import LoraLinearArguments, PairWorkspace, row_tiles
from autotune.kernels.lora_linear.operation import linear_launches, lora_linear
from autotune.kernels.lora_linear.reference import reference
from autotune.kernels.lora_shrink.launcher import LoraShrinkArguments
from autotune.servers.vllm import facts
from autotune.servers.vllm.linear import APART, is_apart


@dataclass(frozen=True)
class LoraLinearProblem(SlicedProblem):
    """x ``[m, k]`` times the A matrices ``[rank, k]`` times the B matrices: k is the layer's input, n its widest slice.

    Attributes:
        lora_rank: Rows of A and columns of B.
    """

    lora_rank: int = 0

    def __post_init__(self) -> None:
        if self.lora_rank < 1:
            raise InputError(f"lora_rank: got {self.lora_rank}, allowed: 1 or more; pass --lora-rank")
        super().__post_init__()

    @property
    def rank(self) -> int:
        return self.lora_rank

    @property
    def label(self) -> str:
        return f"{super().label}-r{self.rank}"


@dataclass(frozen=True)
class LinearInputs:
    """One argument set, and what the output ``[M, columns]`` holds before a run."""

    arguments: LoraLinearArguments
    start: torch.Tensor


class LoraLinear(Kernel[LoraLinearProblem, LinearInputs]):
    """Our ``lora_linear``, in the place of vLLM's ``add_lora_linear`` (contracts A15)."""

    name = "lora_linear"
    aliases = ("linear",)
    problem_type = LoraLinearProblem
    server = "vllm"
    includes = ("lora_shrink", "lora_expand")

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

    def make_inputs(self, problem: LoraLinearProblem, device: str, seed: int) -> LinearInputs:
        p = problem
        normal = Normal(device, p.torch_dtype, seed)
        metadata = random_metadata(p, device, seed)
        buffer = torch.empty(p.num_slices, p.m, p.rank, dtype=torch.float32, device=device)
        start = normal(p.m, sum(p.slice_widths))
        a = [normal.weights(p.max_loras, p.rank, p.k) for _ in range(p.num_slices)]
        b = [normal.weights(p.max_loras, width, p.rank) for width in p.slice_widths]
        arguments = LoraLinearArguments(
            LoraShrinkArguments(normal(p.m, p.k), a, buffer, metadata),
            LoraExpandArguments(buffer, b, start.clone(), metadata, p.add_inputs),
            _workspace(row_tiles(p.m, p.max_loras, 16) * p.num_slices, device),
        )
        return LinearInputs(arguments, start)

    def launches(self, inputs: LinearInputs, config: Config) -> list[Launch]:
        return linear_launches(inputs.arguments, config)

    def run(self, inputs: LinearInputs, config: Config) -> torch.Tensor:
        return lora_linear(inputs.arguments, config)

    def poison(self, inputs: LinearInputs) -> None:
        """Base tokens keep their values in both modes; the others are NaN before they are overwritten, and so is all
        that programs hand on to each other."""
        arguments, out = inputs.arguments, inputs.arguments.expand.out
        out.copy_(inputs.start)
        if not arguments.expand.add_inputs:
            out[arguments.shrink.metadata.token_lora_mapping >= 0] = torch.nan
        arguments.workspace.parts.fill_(torch.nan)
        arguments.shrink.out.fill_(torch.nan)

    def reference(self, inputs: LinearInputs, dtype: torch.dtype) -> Expected:
        return reference(inputs.arguments, inputs.start, dtype)

    def call(self, problem: LoraLinearProblem) -> Call:
        p = problem
        sizes = {"m": p.m, "k": p.k, "rank": p.rank, "n": p.n}
        return Call(facts.NAME, facts.LINEAR, {"max_loras": p.max_loras + 1, "num_slices": p.num_slices, **sizes})


@functools.lru_cache(maxsize=1)
def _workspace(groups: int, device: str) -> PairWorkspace:
    """Makes the one workspace of all argument sets of a problem: a server's layers share theirs, too."""
    return PairWorkspace.make(groups * pair_space.MOST_PART_BYTES // 4, groups, device)


KERNELS = [LoraLinear()]
