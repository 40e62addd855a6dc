"""Describes what a running study shows of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from autotune.contract import Config
from autotune.measure.result import COMPILE_FAILURES, Measurement
from autotune.run.loop import SearchLoop
from autotune.study import trials

Stage = Literal["search", "finalists"]


@dataclass(frozen=True)
class Progress:
    """Where a running study stands, for a live display.

    Attributes:
        counts: Number of trials by status.
        gain_left: Share of the best time that going on may still save; None before it can be told.
        out_of_time: Whether time has ended the search, and nothing else.
    """

    study: str
    space_size: int
    counts: Counter[str]
    best_us: float | None
    incumbent_us: float | None
    gain_left: float | None
    stage: Stage
    out_of_time: bool = False

    @property
    def measured(self) -> int:
        """How many configs have reached the GPU."""
        return sum(count for status, count in self.counts.items() if status not in COMPILE_FAILURES)


OnProgress = Callable[[Progress], None]


class ProgressReporter:
    """Keeps count of a loop's trials and reports after each.

    Args:
        name: The study's.
    """

    def __init__(self, name: str, loop: SearchLoop, on_progress: OnProgress) -> None:
        self._name = name
        self._loop = loop
        self._on_progress = on_progress
        self._counts: Counter[str] = Counter()
        self._best_us: float | None = None
        self._incumbent_us: float | None = None
        for measured in trials.measured(loop.study.get_trials(deepcopy=False), loop.space):
            self._add(measured.index == 0, measured.status, measured.time_us)

    def on_trial(self, config: Config, measurement: Measurement) -> None:
        """Counts a finished trial and reports."""
        time_us = measurement.median_us if measurement.samples_us else None
        self._add(config == self._loop.space.incumbent, measurement.status, time_us)
        self.report("search")

    def report(self, stage: Stage) -> None:
        """Reports where the study stands."""
        self._on_progress(
            Progress(
                study=self._name,
                space_size=len(self._loop.space),
                counts=self._counts,
                best_us=self._best_us,
                incumbent_us=self._incumbent_us,
                gain_left=self._loop.search.stop.gain_left(self._loop.study),
                stage=stage,
                out_of_time=self._loop.out_of_time,
            )
        )

    def _add(self, is_incumbent: bool, status: str, time_us: float | None) -> None:
        self._counts[status] += 1
        if time_us is None:
            return
        if is_incumbent:
            self._incumbent_us = time_us
        if status == "ok":
            self._best_us = min(time_us, self._best_us or time_us)
