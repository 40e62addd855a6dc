"""Problems that write the columns of slices: what expand has, alone or together with shrink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.errors import InputError
from autotune.kernels.common.problem import LoraProblem, integers_flag, switch


@dataclass(frozen=True)
class SlicedProblem(LoraProblem):
    """A dense problem whose output's columns lie in slices, which may differ in width.

    Attributes:
        add_inputs: Add to the output (the rule), or overwrite it.
        slice_widths: Rows of each slice's B; n is the largest. Empty stands for n everywhere.
    """

    add_inputs: bool = True
    slice_widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.slice_widths:
            object.__setattr__(self, "slice_widths", (self.n,) * self.num_slices)
        widths = self.slice_widths
        if len(widths) != self.num_slices or max(widths) != self.n or min(widths) < 1:
            raise InputError(
                f"slice_widths: got {list(widths)}, allowed: num_slices={self.num_slices} positive widths, "
                f"the largest equal to n={self.n}; pass --slice-widths with the q,k,v (or gate,up) widths"
            )

    @property
    def same_width(self) -> bool:
        return len(set(self.slice_widths)) == 1

    @property
    def label(self) -> str:
        add = "" if self.add_inputs else "-overwrite"
        return super().label + add + ("" if self.same_width else "-w" + "x".join(map(str, self.slice_widths)))


def slices_from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that `SlicedProblem` adds to `LoraProblem`'s.

    Raises:
        InputError: Naming the flag that cannot be read.
    """
    return {
        "add_inputs": switch(flags, "expand_add_inputs", default=True),
        "slice_widths": integers_flag(flags, "slice_widths"),
    }
