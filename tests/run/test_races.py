"""Sizes are raced while there is time: each for all of its shapes, or for none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from autotune.run.queue import Turn
from autotune.run.races import RaceQueue


class Races(RaceQueue):
    """Takes a second for each race, by a clock of its own."""

    def __init__(self) -> None:
        self.clock_s = 0.0
        self.taken: list[str] = []
        super().__init__(cast(Any, None), cast(Any, None), lambda: self.clock_s)

    def _take(self, turn: Turn) -> None:
        self.clock_s += 1.0
        self.taken.append(turn.name)


def turn(m: int, shape: str) -> Turn:
    spec = SimpleNamespace(problem={"m": m}, group=None)
    return Turn([cast(Any, SimpleNamespace(name=f"{shape}{m}", spec=spec))])


@pytest.mark.parametrize(("time_s", "sizes"), [(6.0, 3), (5.9, 2), (4.0, 2), (0.1, 1), (0.0, 0)])
def test_a_size_that_there_is_no_time_for_is_not_begun(time_s: float, sizes: int) -> None:
    races = Races()
    races.run([turn(m, shape) for m in (1, 2, 4) for shape in "ab"], time_s)
    assert races.taken == [f"{shape}{m}" for m in (1, 2, 4)[:sizes] for shape in "ab"]
