"""Describes what one search did on one recorded space, and sums many up in figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autotune.contract import Config
from autotune.measure.recording import Recording
from autotune.measure.result import COMPILE_FAILURES, Measurement
from autotune.search.arrays import Floats


@dataclass
class SearchOutcome:
    """One search on one space, told about every config it asked for.

    An evaluation is a distinct config that is measured. What fails to compile never reaches the GPU: it costs
    no search an evaluation. Asking again, or for what is not in the space, is free too, but noted.

    Attributes:
        regrets: After each evaluation, how much slower the best config found is than the best of the space (0.01 = 1%).
        repeated: Asks for a config asked for before.
        infeasible: Asks for a config that is not in the space.
        failed: Asks for a config that does not compile.
        think_s: Seconds spent on proposing and on deciding whether to stop.
        stopped_after: Evaluations at which the stop rule would have ended the search; None if it never would.
    """

    recording: Recording
    regrets: list[float] = field(default_factory=list)
    repeated: int = 0
    infeasible: int = 0
    failed: int = 0
    think_s: float = 0.0
    stopped_after: int | None = None
    _seen: set[int] = field(default_factory=set)

    def ask(self, config: Config) -> Measurement | None:
        """Evaluates a config; returns None if it is not in the space."""
        try:
            index = self.recording.space.index(config)
        except KeyError:
            self.infeasible += 1
            return None
        measurement = self.recording.measurement(config)
        if index in self._seen:
            self.repeated += 1
            return measurement
        self._seen.add(index)
        if measurement.status in COMPILE_FAILURES:
            self.failed += 1
            return measurement
        # Nothing found is as bad as the slowest that runs.
        best = self.regrets[-1] if self.regrets else slowest(self.recording)
        if measurement.status == "ok":
            best = min(best, measurement.median_us / self.recording.best_us - 1)
        self.regrets.append(best)
        return measurement

    @property
    def asks(self) -> int:
        return len(self.regrets) + self.failed + self.repeated + self.infeasible

    def regret(self, budget: int) -> float:
        """Returns the regret after `budget` evaluations, or after the last if the search ended before."""
        return self.regrets[min(budget, len(self.regrets)) - 1] if self.regrets else slowest(self.recording)

    def evaluations_to(self, regret: float) -> float:
        """Counts the evaluations until the best was this close; infinity if it never was."""
        return next((n for n, found in enumerate(self.regrets, start=1) if found <= regret), float("inf"))


def slowest(recording: Recording) -> float:
    return max(m.median_us for m in recording.measurements if m.status == "ok") / recording.best_us - 1


@dataclass(frozen=True)
class Spread:
    """Regrets and how likely each is."""

    regrets: Floats
    shares: Floats

    def quantile(self, share: float) -> float:
        """Returns the smallest regret that this share does not exceed: no interpolation, so that random can be
        exact."""
        order = np.argsort(self.regrets, kind="stable")
        reached = np.cumsum(self.shares[order])
        first = int(np.searchsorted(reached, share - 1e-9))
        return float(self.regrets[order][min(first, len(order) - 1)])

    @property
    def median(self) -> float:
        """The ordinary one: halfway between the two in the middle, where there are two."""
        order = np.argsort(self.regrets, kind="stable")
        above = int(np.searchsorted(np.cumsum(self.shares[order]), 0.5 + 1e-9))
        return (self.quantile(0.5) + float(self.regrets[order][min(above, len(order) - 1)])) / 2

    @classmethod
    def even(cls, regrets: Sequence[float]) -> Spread:
        """Returns one regret for each run, all equally likely."""
        return cls(np.array(regrets, dtype=float), np.full(len(regrets), 1 / len(regrets)))

    @classmethod
    def pooled(cls, spreads: Sequence[Spread]) -> Spread:
        """Returns those of several spaces, each equally likely."""
        regrets = np.concatenate([spread.regrets for spread in spreads])
        return cls(regrets, np.concatenate([spread.shares for spread in spreads]) / len(spreads))
