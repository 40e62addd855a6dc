"""Holds what the scripts that time plug-ins share: their options, the race of both sides, and how they keep rows."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple, Protocol

from autotune.environment import current_environment, current_gpu
from autotune.measure.timing import CudaGraphTimer

_GRAPH_US: Final = 1000.0
_L2_FACTOR: Final = 2.5
_BURN_IN: Final = 8
"""Graphs of a process that replay faster than all later ones, see `autotune.measure.workbench`."""

Call = Callable[[], object]


class Raced(NamedTuple):
    """What a race found.

    Attributes:
        own_us: The median of the server's own.
        ours_us: The median with the plug-in.
        ratio: The median over the rounds of own over ours.
    """

    own_us: float
    ours_us: float
    ratio: float

    def __str__(self) -> str:
        return f"own {self.own_us:9.2f} us  ours {self.ours_us:9.2f} us  {self.ratio:5.2f}x"


@dataclass(frozen=True)
class Sides:
    """Calls that do the same work, one for each argument set: the server's own, and those with the plug-in."""

    own: Sequence[Call]
    ours: Sequence[Call]

    def race(self, rounds: int) -> Raced:
        """Captures each side in a CUDA graph, and replays the two back and forth."""
        for call in (*self.own, *self.ours):
            call()
        timers = [CudaGraphTimer(calls, _GRAPH_US) for calls in (self.own, self.ours)]
        samples: tuple[list[float], list[float]] = ([], [])
        for turn in range(rounds):
            for side in (0, 1) if turn % 2 == 0 else (1, 0):
                samples[side].append(timers[side].sample_us())
        own, ours = samples
        return Raced(median(own), median(ours), median(one / other for one, other in zip(own, ours, strict=True)))


class Case(Protocol):
    """What is timed: one op at one batch."""

    @property
    def sides(self) -> Sides: ...

    def row(self, rounds: int) -> Any:
        """Checks what the plug-in writes, races the sides, and returns a dataclass with a `line`."""


def timed(cases: Iterable[Case], rounds: int) -> Iterator[Any]:
    """Yields the rows of the cases, once the process is burnt in on the first of them."""
    for index, case in enumerate(cases):
        if index == 0:
            for _ in range(_BURN_IN):
                case.sides.race(1)
        yield case.row(rounds)


def set_count(touched_bytes: float, most: int) -> int:
    """Returns how many argument sets overflow the L2 cache."""
    return min(most, math.ceil(_L2_FACTOR * current_gpu().l2_bytes / touched_bytes))


def options(about: str | None, models: Sequence[str], rounds: int) -> argparse.ArgumentParser:
    """Returns the parser of what the scripts of all plug-ins take."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", default=models)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=240.0, help="stop after so long, whatever is left")
    return parser


def keep(rows: Iterable[Any], out: Path, seconds: float) -> None:
    """Prints the rows, dataclasses with a `line`, and writes them one by one, until the time is up."""
    end_s = time.monotonic() + seconds
    kept: list[dict[str, Any]] = []
    for row in rows:
        kept.append(asdict(row))
        print(row.line, flush=True)
        out.write_text(json.dumps({"environment": current_environment().known, "rows": kept}, indent=1))
        if time.monotonic() > end_s:
            raise SystemExit("out of time: the rows so far are written")
