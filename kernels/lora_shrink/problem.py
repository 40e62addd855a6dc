"""Problems of LoRA shrink."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.kernels.common.problem import LoraProblem


@dataclass(frozen=True)
class LoraShrinkProblem(LoraProblem):
    """x ``[m, k]`` times the A matrices ``[n, k]``: k is the hidden size, n the rank."""

    @property
    def rank(self) -> int:
        return self.n
