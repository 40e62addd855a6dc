"""Problems of LoRA expand."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.kernels.common.sliced_problem import SlicedProblem


@dataclass(frozen=True)
class LoraExpandProblem(SlicedProblem):
    """Shrunk x ``[num_slices, m, k]`` times the B matrices: k is the rank."""

    @property
    def rank(self) -> int:
        return self.k

    @property
    def recordable(self) -> bool:
        return super().recordable and self.same_width and self.add_inputs
