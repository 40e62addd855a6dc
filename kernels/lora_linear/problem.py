"""Problems of a linear layer's LoRA."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.errors import InputError
from autotune.kernels.common.sliced_problem import SlicedProblem


@dataclass(frozen=True)
class LoraLinearProblem(SlicedProblem):
    """x ``[m, k]`` times the A matrices ``[rank, k]`` times the B matrices: k is the layer's input, n its widest slice.

    Attributes:
        lora_rank: Rows of A and columns of B.
    """

    lora_rank: int = 0

    def __post_init__(self) -> None:
        if self.lora_rank < 1:
            raise InputError(f"lora_rank: got {self.lora_rank}, allowed: 1 or more; pass --lora-rank")
        super().__post_init__()

    @property
    def rank(self) -> int:
        return self.lora_rank

    @property
    def label(self) -> str:
        return f"{super().label}-r{self.rank}"
