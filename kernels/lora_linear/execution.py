"""Makes inputs of a linear layer's LoRA and runs it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from autotune.contract import Config, Expected, Launch
from autotune.kernels.common.execution import Execution
from autotune.kernels.common.metadata import random_metadata
from autotune.kernels.common.normal import Normal
from autotune.kernels.lora_expand.launcher import LoraExpandArguments
from autotune.kernels.lora_linear.launcher import LoraLinearArguments, PairWorkspace, most_groups
from autotune.kernels.lora_linear.operation import linear_launches, lora_linear
from autotune.kernels.lora_linear.problem import LoraLinearProblem
from autotune.kernels.lora_linear.reference import reference
from autotune.kernels.lora_linear.space import MOST_PART_BYTES
from autotune.kernels.lora_shrink.launcher import LoraShrinkArguments


@dataclass(frozen=True)
class LinearInputs:
    """One argument set, and what the output ``[M, columns]`` holds before a run."""

    arguments: LoraLinearArguments
    start: torch.Tensor


class LoraLinearExecution(Execution[LoraLinearProblem, LinearInputs]):
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
            _workspace(most_groups(p.m, p.max_loras, p.num_slices), device),
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


@functools.lru_cache(maxsize=1)
def _workspace(groups: int, device: str) -> PairWorkspace:
    """Makes the one workspace of all argument sets of a problem: a server's layers share theirs, too."""
    return PairWorkspace.make(groups * MOST_PART_BYTES // 4, groups, device)
