"""Makes inputs of the experts' kernel in the server's place and runs it."""

from __future__ import annotations

import torch

from autotune.contract import Config, Launch
from autotune.kernels.aligned_moe_lora.launcher import aligned_launches, aligned_moe_lora
from autotune.kernels.fused_moe_lora.execution import MoeOneShotExecution
from autotune.kernels.fused_moe_lora.inputs import WithStart
from autotune.kernels.fused_moe_lora.one_shot import MoeOneShotArguments


class AlignedMoeExecution(MoeOneShotExecution):
    """The one-shot kernel's inputs and reference, launched by whole configs."""

    def launches(self, inputs: WithStart[MoeOneShotArguments], config: Config) -> list[Launch]:
        return aligned_launches(inputs.arguments, config)

    def run(self, inputs: WithStart[MoeOneShotArguments], config: Config) -> torch.Tensor:
        return aligned_moe_lora(inputs.arguments, config)
