"""Sums up the searches of one sampler on one space in figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from autotune.bench import random_search
from autotune.bench.outcome import SearchOutcome, Spread
from autotune.measure.recording import Recording

EXACT = "random"
"""The sampler whose figures are computed and not run (`autotune.bench.random_search`)."""


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        median_regret: After `budget` evaluations, as the two below: how much slower the best found is than the best.
        evals_to_5pct: Median evaluations to within 5% of the best; None if half the searches never came so close.
        think_ms: Of proposing, an ask.
        regret_at_stop: 95th percentile of the regret where the stop rule, or else the budget, ends each search; None if
            it ended none.
        evals_at_stop: Median evaluations there.
    """

    space: str
    configs: int
    sampler: str
    budget: int
    seeds: int
    median_regret: float
    p95_regret: float
    worst_regret: float
    evals_to_5pct: float | None
    evals_to_1pct: float | None
    repeated: int
    infeasible: int
    think_ms: float
    regret_at_stop: float | None
    evals_at_stop: float | None


@dataclass(frozen=True)
class Score:
    """One sampler on one space: what it came to for each seed; no outcomes for `EXACT`, which is computed."""

    recording: Recording
    sampler: str
    outcomes: tuple[SearchOutcome, ...]

    def spread(self, budget: int) -> Spread:
        """Returns the regrets after `budget` evaluations."""
        if self.sampler == EXACT:
            return random_search.spread(self.recording, budget)
        return Spread.even([o.regret(budget) for o in self.outcomes])

    def worst(self, budget: int) -> float:
        """Returns the largest regret after `budget` evaluations."""
        if self.sampler == EXACT:
            return random_search.worst_regret(self.recording, budget)
        return max(o.regret(budget) for o in self.outcomes)

    def evaluations_to(self, regret: float) -> float | None:
        """Returns the median evaluations; None if half the searches never came so close."""
        if self.sampler == EXACT:
            return random_search.draws_to(self.recording, regret)
        middle = median(o.evaluations_to(regret) for o in self.outcomes)
        return middle if math.isfinite(middle) else None

    def row(self, budget: int) -> Row:
        """Sums the score up after `budget` evaluations."""
        asks = sum(o.asks for o in self.outcomes)
        spread, stops = self.spread(budget), self._stops
        return Row(
            space=self.recording.name,
            configs=len(self.recording.configs),
            sampler=self.sampler,
            budget=budget,
            seeds=len(self.outcomes),
            median_regret=spread.median,
            p95_regret=spread.quantile(0.95),
            worst_regret=self.worst(budget),
            evals_to_5pct=self.evaluations_to(0.05),
            evals_to_1pct=self.evaluations_to(0.01),
            repeated=sum(o.repeated for o in self.outcomes),
            infeasible=sum(o.infeasible for o in self.outcomes),
            think_ms=1e3 * sum(o.think_s for o in self.outcomes) / asks if asks else 0.0,
            regret_at_stop=Spread.even([regret for _, regret in stops]).quantile(0.95) if stops else None,
            evals_at_stop=median(count for count, _ in stops) if stops else None,
        )

    @property
    def _stops(self) -> list[tuple[int, float]]:
        """Where the stop rule, or else the budget, ends each search, and the regret there; empty without a rule."""
        if all(o.stopped_after is None for o in self.outcomes):
            return []
        ends = [(o.stopped_after or len(o.regrets), o) for o in self.outcomes]
        return [(end, o.regret(end)) for end, o in ends]
