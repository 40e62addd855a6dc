"""Problems of csgmv expand."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.errors import InputError, one_of
from autotune.kernels.common.csgmv import CsgmvProblem


@dataclass(frozen=True, kw_only=True)
class CsgmvExpandProblem(CsgmvProblem):
    """x ``[tokens, num_slices * rank]`` times the stacked B matrices ``[sum of slice_widths, rank]``."""

    slice_widths: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.slice_widths) != self.num_slices or min(self.slice_widths) < 1:
            raise InputError(
                f"--slice-widths: got {one_of(self.slice_widths)}, allowed: --num-slices {self.num_slices} positive "
                "widths; pass the widths of q,k,v (or gate,up), or --output-dim with the sum of equal ones"
            )

    @property
    def sizes(self) -> str:
        return "n" + "x".join(map(str, self.slice_widths))

    @property
    def lookup_k(self) -> int:
        return self.columns

    @property
    def columns(self) -> int:
        return sum(self.slice_widths)
