"""Counts where the wall time of a search goes, and how much a run has left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum


class Phase(StrEnum):
    """What a search does at a time, by the names that results keep."""

    COMPILE_WAIT = "compile_wait"
    """It waits for compilers."""
    MEASURE = "measure"
    SEARCH = "search"
    """It proposes, and decides whether to stop."""
    STORAGE = "storage"
    """It waits for results to be stored."""
    LEARN = "learn"
    """The model learns while a config is measured."""


_IN_TURN = (Phase.COMPILE_WAIT, Phase.MEASURE, Phase.SEARCH, Phase.STORAGE)
"""The phases that follow one another; learning goes on during measuring and takes no time of its own."""


class Clock:
    """Adds up the seconds of each phase, from its creation on.

    Args:
        now_s: Tells the time.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._started_s = now_s()
        self._spent_s = dict.fromkeys(Phase, 0.0)

    @contextmanager
    def timing(self, phase: Phase) -> Iterator[None]:
        """Adds the time that the block takes to a phase."""
        start_s = self._now_s()
        try:
            yield
        finally:
            self._spent_s[phase] += self._now_s() - start_s

    def spent_s(self, phase: Phase) -> float:
        return self._spent_s[phase]

    @property
    def seconds(self) -> dict[str, float]:
        """The time of each phase that results keep, by its name."""
        return {phase.value: self._spent_s[phase] for phase in _IN_TURN}

    @property
    def wall_s(self) -> float:
        return self._now_s() - self._started_s


class Deadline:
    """The end of a run's time.

    Args:
        timeout_s: Seconds from now; None for no end.
        now_s: Tells the time.
    """

    def __init__(self, timeout_s: float | None, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._end_s = None if timeout_s is None else now_s() + timeout_s

    @property
    def left_s(self) -> float | None:
        """Seconds until then, 0 once it is past; None if there is no end."""
        return None if self._end_s is None else max(0.0, self._end_s - self._now_s())
