"""Problems of LoRA shrink."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.kernels.common.problem import LoraProblem
from autotune.kernels.common.tiles import cdiv


@dataclass(frozen=True)
class LoraShrinkProblem(LoraProblem):
    """x ``[m, k]`` times the A matrices ``[n, k]``: k is the hidden size, n the rank."""

    @property
    def rank(self) -> int:
        return self.n

    def column_tiles(self, block_n: int) -> int:
        """Counts the tiles of so many columns: one that does not end with a slice goes on in the next one."""
        return cdiv(self.num_slices * self.n, block_n)
