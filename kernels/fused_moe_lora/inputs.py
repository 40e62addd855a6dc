"""Inputs of the fused MoE LoRA kernels: random tensors of a problem, and an output's starting values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from autotune.kernels.common.normal import Normal
from autotune.kernels.fused_moe_lora.blocks import Batch
from autotune.kernels.fused_moe_lora.expand import MoeExpandArguments
from autotune.kernels.fused_moe_lora.one_shot import MoeOneShotArguments
from autotune.kernels.fused_moe_lora.problem import MoeProblem
from autotune.kernels.fused_moe_lora.routing import random_routing

Written = TypeVar("Written", MoeExpandArguments, MoeOneShotArguments)


@dataclass(frozen=True)
class WithStart(Generic[Written]):
    """One argument set, and what `arguments.out` ``[M, T, W]`` holds before a run, of which `written` is to change."""

    arguments: Written
    start: torch.Tensor
    written: torch.Tensor

    def restore(self) -> None:
        """Base tokens keep their values in both modes; the others are NaN before they are overwritten."""
        a, routing = self.arguments, self.arguments.batch.routing
        a.out.copy_(self.start)
        if not a.add_inputs:
            self.written.flatten(0, 1)[routing.groups() < routing.max_loras * routing.num_experts] = torch.nan


class MoeTensors:
    """Draws a problem's tensors, in the problem's type."""

    def __init__(self, problem: MoeProblem, device: str, seed: int) -> None:
        self._problem = problem
        self.normal = Normal(device, problem.torch_dtype, seed)
        self.batch = Batch(random_routing(problem, seed).to(device), problem.naive)

    def weights(self, slices: int, rows: int, columns: int) -> list[torch.Tensor]:
        """Makes one ``[L, E, rows, columns]`` for each slice."""
        p = self._problem
        return [self.normal.weights(p.max_loras, p.num_experts, rows, columns) for _ in range(slices)]
