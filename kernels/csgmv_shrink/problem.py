"""Problems of csgmv shrink."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.errors import InputError
from autotune.kernels.common.csgmv import CsgmvProblem


@dataclass(frozen=True, kw_only=True)
class CsgmvShrinkProblem(CsgmvProblem):
    """x ``[tokens, k]`` times the stacked A matrices ``[num_slices * rank, k]``."""

    k: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise InputError(f"k: got {self.k}, allowed: 1 or more; pass the layer's --hidden-size")

    @property
    def sizes(self) -> str:
        return f"k{self.k}"

    @property
    def lookup_k(self) -> int:
        return self.k

    @property
    def columns(self) -> int:
        return self.num_slices * self.rank
