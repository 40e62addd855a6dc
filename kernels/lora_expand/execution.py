"""Makes inputs of LoRA expand and runs it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autotune.contract import Config, Expected, Launch
from autotune.kernels.common.execution import Execution
from autotune.kernels.common.metadata import random_metadata
from autotune.kernels.common.normal import Normal
from autotune.kernels.lora_expand.launcher import LoraExpandArguments, expand_launches, lora_expand
from autotune.kernels.lora_expand.problem import LoraExpandProblem
from autotune.kernels.lora_expand.reference import reference


@dataclass(frozen=True)
class ExpandInputs:
    """One argument set, and what `arguments.out` ``[M, columns]`` holds before a run."""

    arguments: LoraExpandArguments
    start: torch.Tensor


class LoraExpandExecution(Execution[LoraExpandProblem, ExpandInputs]):
    def make_inputs(self, problem: LoraExpandProblem, device: str, seed: int) -> ExpandInputs:
        p = problem
        normal = Normal(device, p.torch_dtype, seed)
        start = normal(p.m, sum(p.slice_widths))
        arguments = LoraExpandArguments(
            x=normal(p.num_slices, p.m, p.k, dtype=torch.float32),
            b=[normal.weights(p.max_loras, width, p.k) for width in p.slice_widths],
            out=start.clone(),
            metadata=random_metadata(p, device, seed),
            add_inputs=p.add_inputs,
        )
        return ExpandInputs(arguments, start)

    def launches(self, inputs: ExpandInputs, config: Config) -> list[Launch]:
        return expand_launches(inputs.arguments, config)

    def run(self, inputs: ExpandInputs, config: Config) -> torch.Tensor:
        return lora_expand(inputs.arguments, config)

    def poison(self, inputs: ExpandInputs) -> None:
        """Base tokens keep their values in both modes; the others are NaN before they are overwritten."""
        inputs.arguments.out.copy_(inputs.start)
        if not inputs.arguments.add_inputs:
            inputs.arguments.out[inputs.arguments.metadata.token_lora_mapping >= 0] = torch.nan

    def reference(self, inputs: ExpandInputs, dtype: torch.dtype) -> Expected:
        return reference(inputs.arguments, inputs.start, dtype)
