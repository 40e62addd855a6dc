"""Describes what came of timing the ways to do one call's work against each other: the server's kernel, and ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from autotune.contract import Config

DEFAULT: Final = "default"
"""The server's kernel as it runs without a file."""
SERVED: Final = "served"
"""The server's kernel, tuned."""
APART: Final = "apart"
"""Of what does the work of several calls: each of them by the faster one of the server's kernel and ours."""
OURS: Final = "ours"
"""Our kernel, tuned."""


@dataclass(frozen=True)
class Contender:
    """A config of a study's kernel."""

    study: str
    config: Config


@dataclass(frozen=True)
class Side:
    """One way to do the work.

    Attributes:
        name: `DEFAULT`, `SERVED`, `APART` or `OURS`.
        contenders: Several run one after the other.
        time_us: Of all together; None if one of them does not run, or, of separate studies, was not timed on what ours
            was.
    """

    name: str
    contenders: tuple[Contender, ...]
    time_us: float | None


@dataclass(frozen=True)
class HeadToHead:
    """The times of all ways, and which of them is to run.

    Attributes:
        sides: Our kernel's is the last.
        winner: Name of the fastest one; ours where none is faster than it, the server's where its time is not known.
        interleaved: They were timed in turn, in one process; else the times are of separate studies.
        on_ours: Kernels of our op were timed on the problem of our study. False of what an older release kept: each was
            timed on its own.
    """

    sides: tuple[Side, ...]
    winner: str
    interleaved: bool
    on_ours: bool = False

    @property
    def ours(self) -> Side:
        return self.sides[-1]

    @property
    def is_ours(self) -> bool:
        """Tells whether our kernel is to run."""
        return self.winner == OURS

    def us(self, name: str) -> float | None:
        """Returns the time of a side; None if it is not there, does not run or is not known."""
        return next((side.time_us for side in self.sides if side.name == name), None)

    @property
    def rivals(self) -> set[str]:
        """Names of the studies of the other sides."""
        return {contender.study for side in self.sides[:-1] for contender in side.contenders}

    def of(self, name: str) -> Side | None:
        """Returns a side; None if it is not there."""
        return next((side for side in self.sides if side.name == name), None)
