"""Sizes of one side of a fused MoE LoRA problem, and how much of each tensor a batch reads and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.kernels.fused_moe_lora.problem import MoeProblem, MoeSide

if TYPE_CHECKING:
    from autotune.kernels.fused_moe_lora.routing import RoutedWork


class MoeSizes:
    """Sizes of one side of a problem, and how much of each tensor a batch reads and writes."""

    def __init__(self, problem: MoeProblem, side: MoeSide) -> None:
        self._problem, self._side = problem, side
        self.slices, self.depth, self.width = side.slices(problem), side.depth(problem), side.width(problem)
        self.shrunk, self.row, self.offset = side.shrunk(problem), side.row(problem), side.offset(problem)
        self.rows = problem.m if side.row_per_token else problem.pairs

    @property
    def _work(self) -> RoutedWork:
        from autotune.kernels.fused_moe_lora.routing import work  # draws a batch, which takes torch

        return work(self._problem)

    @property
    def live_pairs(self) -> int:
        return self._work.pairs

    @property
    def live_rows(self) -> int:
        """Rows of x that are read."""
        return self._work.tokens if self._side.row_per_token else self.live_pairs

    def flops(self, rank: int, columns: int) -> int:
        """Counts the flops of a product between so much of the rank and so many columns."""
        return 2 * self.live_pairs * self.slices * rank * columns

    def weights(self, rank: int, columns: int) -> int:
        """Counts the elements of A or B of this size, over the (adapter, expert) pairs that are hit."""
        return self._work.groups * self.slices * rank * columns

    @property
    def written(self) -> int:
        """Elements of the output that are read or written."""
        return self.live_pairs * self.slices * self.width * (2 if self._problem.add_inputs else 1)
