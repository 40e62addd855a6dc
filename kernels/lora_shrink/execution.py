"""Makes inputs of LoRA shrink and runs it."""

from __future__ import annotations

import torch

from autotune.contract import Config, Expected, Launch
from autotune.kernels.common.execution import Execution
from autotune.kernels.common.metadata import random_metadata
from autotune.kernels.common.normal import Normal
from autotune.kernels.lora_shrink.launcher import LoraShrinkArguments, lora_shrink, shrink_launches
from autotune.kernels.lora_shrink.problem import LoraShrinkProblem
from autotune.kernels.lora_shrink.reference import reference


class LoraShrinkExecution(Execution[LoraShrinkProblem, LoraShrinkArguments]):
    def make_inputs(self, problem: LoraShrinkProblem, device: str, seed: int) -> LoraShrinkArguments:
        p = problem
        normal = Normal(device, p.torch_dtype, seed)
        return LoraShrinkArguments(
            x=normal(p.m, p.k),
            a=[normal.weights(p.max_loras, p.n, p.k) for _ in range(p.num_slices)],
            out=torch.zeros(p.num_slices, p.m, p.n, dtype=torch.float32, device=device),
            metadata=random_metadata(p, device, seed),
        )

    def launches(self, inputs: LoraShrinkArguments, config: Config) -> list[Launch]:
        return shrink_launches(inputs, config)

    def run(self, inputs: LoraShrinkArguments, config: Config) -> torch.Tensor:
        return lora_shrink(inputs, config)

    def poison(self, inputs: LoraShrinkArguments) -> None:
        inputs.out.fill_(torch.nan)

    def reference(self, inputs: LoraShrinkArguments, dtype: torch.dtype) -> Expected:
        return reference(inputs, dtype)
