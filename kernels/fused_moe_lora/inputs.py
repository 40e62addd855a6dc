"""Inputs of the fused MoE LoRA kernels: their sizes, random tensors of a problem, and an output's starting values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from autotune.kernels.common.normal import Normal
from autotune.kernels.fused_moe_lora.blocks import Batch
from autotune.kernels.fused_moe_lora.expand import MoeExpandArguments
from autotune.kernels.fused_moe_lora.one_shot import MoeOneShotArguments
from autotune.kernels.fused_moe_lora.problem import MoeProblem, MoeSide
from autotune.kernels.fused_moe_lora.routing import random_routing, work

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


class MoeSizes:
    """Sizes of one side of a problem, and how much of each tensor a batch reads and writes."""

    def __init__(self, problem: MoeProblem, side: MoeSide) -> None:
        self._problem, self._side = problem, side
        self.slices, self.depth, self.width = side.slices(problem), side.depth(problem), side.width(problem)
        self.shrunk, self.row, self.offset = side.shrunk(problem), side.row(problem), side.offset(problem)
        self.rows = problem.m if side.row_per_token else problem.pairs

    @property
    def live_pairs(self) -> int:
        return work(self._problem).pairs

    @property
    def live_rows(self) -> int:
        """Rows of x that are read."""
        return work(self._problem).tokens if self._side.row_per_token else self.live_pairs

    def flops(self, rank: int, columns: int) -> int:
        """Counts the flops of a product between so much of the rank and so many columns."""
        return 2 * self.live_pairs * self.slices * rank * columns

    def weights(self, rank: int, columns: int) -> int:
        """Counts the elements of A or B of this size, over the (adapter, expert) pairs that are hit."""
        return work(self._problem).groups * self.slices * rank * columns

    @property
    def written(self) -> int:
        """Elements of the output that are read or written."""
        return self.live_pairs * self.slices * self.width * (2 if self._problem.add_inputs else 1)


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
