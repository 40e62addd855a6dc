"""Replays searches on recorded spaces and scores them: no GPU, every core."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import optuna

from autotune.bench import chance, kernel_tuner
from autotune.bench.outcome import SearchOutcome, Spread
from autotune.bench.rivals import RIVALS
from autotune.contract import AnyKernel, Config, Problem, registry
from autotune.contract.gpu import H200
from autotune.errors import InputError, one_of
from autotune.measure import recording as recordings
from autotune.measure.recording import Recording
from autotune.measure.replay import ReplayBackend
from autotune.measure.result import Measurement
from autotune.run.clock import Phase
from autotune.run.loop import Budget, SearchLoop
from autotune.search import SAMPLERS, Neighbour, make_search
from autotune.search.api import Search, StopRule
from autotune.search.estimate import Floats, estimated
from autotune.search.neighbour import distance

EXACT = "random"
"""Computed, not run (`autotune.bench.chance`)."""

CHOICES = (*SAMPLERS, *RIVALS)
DEFAULT = ("auto", EXACT, *RIVALS)

_NEIGHBOUR_TRIALS = 100


@dataclass(frozen=True)
class Comparison:
    """What to replay.

    Attributes:
        paths: The recorded spaces.
        samplers: Names out of `CHOICES`.
        neighbour: Give our searches one finished neighbour: the nearest other recording of the same kernel.
        estimate: Give our searches what the kernel expects of its configs, where it expects anything.
    """

    paths: tuple[Path, ...]
    samplers: tuple[str, ...]
    seeds: int
    budgets: tuple[int, ...]
    neighbour: bool = False
    estimate: bool = True

    def __post_init__(self) -> None:
        if unknown := [name for name in self.samplers if name not in CHOICES]:
            raise InputError(f"--samplers: got {one_of(unknown)}; allowed: {one_of(CHOICES)}")


@dataclass(frozen=True)
class Score:
    """One sampler on one space: what it came to for each seed, or how to compute it for random."""

    recording: Recording
    sampler: str
    outcomes: tuple[SearchOutcome, ...]

    def spread(self, budget: int) -> Spread:
        """The regrets after `budget` evaluations."""
        if self.sampler == EXACT:
            return chance.spread(self.recording, budget)
        return Spread.even([o.regret(budget) for o in self.outcomes])

    def worst(self, budget: int) -> float:
        if self.sampler == EXACT:
            return chance.worst_regret(self.recording, budget)
        return max(o.regret(budget) for o in self.outcomes)

    def evaluations_to(self, regret: float) -> float | None:
        """Median evaluations; None if half the runs never came so close."""
        if self.sampler == EXACT:
            return chance.draws_to(self.recording, regret)
        middle = median(o.evaluations_to(regret) for o in self.outcomes)
        return middle if math.isfinite(middle) else None

    @property
    def _stops(self) -> list[tuple[int, float]]:
        """Where the stop rule, or else the budget, ends each search, and what is left there; none without a rule."""
        if all(o.stopped_after is None for o in self.outcomes):
            return []
        ends = [(o.stopped_after or len(o.regrets), o) for o in self.outcomes]
        return [(end, o.regret(end)) for end, o in ends]

    def row(self, budget: int) -> dict[str, Any]:
        """One line of the report; the regret where the stop rule ends the search is a 95th percentile, too."""
        asks = sum(o.asks for o in self.outcomes)
        stops = self._stops
        return {
            "space": self.recording.name,
            "configs": len(self.recording.configs),
            "sampler": self.sampler,
            "budget": budget,
            "seeds": len(self.outcomes),
            "median_regret": self.spread(budget).median,
            "p95_regret": self.spread(budget).quantile(0.95),
            "worst_regret": self.worst(budget),
            "evals_to_5pct": self.evaluations_to(0.05),
            "evals_to_1pct": self.evaluations_to(0.01),
            "repeated": sum(o.repeated for o in self.outcomes),
            "infeasible": sum(o.infeasible for o in self.outcomes),
            "think_ms": 1e3 * sum(o.think_s for o in self.outcomes) / asks if asks else 0.0,
            "regret_at_stop": Spread.even([regret for _, regret in stops]).quantile(0.95) if stops else None,
            "evals_at_stop": median(count for count, _ in stops) if stops else None,
        }


def run(plan: Comparison, on_score: Callable[[Score], None] = lambda score: None) -> list[Score]:
    """Replay everything, spread over the cores.

    Raises:
        InputError: If a recorded space cannot be read.
    """
    loaded = {path: recordings.load(path) for path in plan.paths}
    jobs = [(path, name) for path in plan.paths for name in plan.samplers]
    scores = []
    # One thread a process: the matrices are small, and every core has a process of its own.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        running = [
            [pool.submit(replay, plan, path, name, seed) for seed in range(0 if name == EXACT else plan.seeds)]
            for path, name in jobs
        ]
        for (path, name), futures in zip(jobs, running, strict=True):
            scores.append(Score(loaded[path], name, tuple(f.result() for f in futures)))
            on_score(scores[-1])
    return scores


def replay(plan: Comparison, path: Path, name: str, seed: int) -> SearchOutcome:
    """One search on one space with one seed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    recording = recordings.load(path)
    budget = max(plan.budgets)
    if name in RIVALS:
        return RIVALS[name](recording, budget, seed)
    neighbours = _neighbours(plan, path, recording, seed)
    _subject(recording)  # loads kernels, which is not thinking
    start_s = time.monotonic()
    log_estimate = _estimated(recording) if plan.estimate else None
    search = make_search(name, recording.space, seed, neighbours, log_estimate)
    set_up_s = time.monotonic() - start_s
    outcome = ours(recording, search, budget)
    outcome.think_s += set_up_s
    return outcome


def ours(recording: Recording, search: Search, budget: int) -> SearchOutcome:
    """Our search, in the loop that runs it on a GPU; noted where its stop rule would end it, and carried on."""
    outcome = SearchOutcome(recording)
    watched = _Watched(search.stop, outcome)
    study = optuna.create_study(sampler=search.sampler)
    search = replace(search, stop=watched)

    def note(config: Config, measurement: Measurement) -> None:
        outcome.ask(config)

    clock = SearchLoop(study, recording.space, search, ReplayBackend(recording)).run(Budget(budget), note)
    outcome.think_s = clock.spent_s(Phase.SEARCH) + clock.spent_s(Phase.LEARN)
    return outcome


class _Watched:
    """A stop rule that is asked but not obeyed."""

    def __init__(self, rule: StopRule, outcome: SearchOutcome) -> None:
        self.rule = rule
        self.outcome = outcome

    def gain_left(self, study: optuna.Study) -> float | None:
        return self.rule.gain_left(study)

    def measurements_left(self, study: optuna.Study) -> int | None:
        return None

    def done(self, study: optuna.Study) -> bool:
        if self.outcome.stopped_after is None and self.rule.done(study):
            self.outcome.stopped_after = len(self.outcome.regrets)
        return False


def _neighbours(plan: Comparison, path: Path, recording: Recording, seed: int) -> list[Neighbour]:
    """The nearest other recording of the kernel, as far as a search of its own would have measured it."""
    if not plan.neighbour:
        return []
    others = [recordings.load(p) for p in recordings.find(path.parent, f"{recording.kernel}_*") if p != path]
    if not others:
        return []
    nearest = min(others, key=lambda other: distance(recording.sizes, other.sizes))
    timed: list[tuple[Config, float]] = []

    def note(config: Config, measurement: Measurement) -> None:
        if measurement.status == "ok":
            timed.append((config, math.log(measurement.median_us)))

    log_estimate = _estimated(nearest) if plan.estimate else None
    search = make_search("auto", nearest.space, seed, log_estimate=log_estimate)
    study = optuna.create_study(sampler=search.sampler)
    SearchLoop(study, nearest.space, search, ReplayBackend(nearest)).run(Budget(_NEIGHBOUR_TRIALS), note)
    configs = [config for config, _ in timed]
    beforehand = None if log_estimate is None else [float(log_estimate[nearest.space.index(c)]) for c in configs]
    return [Neighbour(nearest.sizes, configs, [log_us for _, log_us in timed], beforehand)]


def _estimated(recording: Recording) -> Floats | None:
    """What the kernel whose problem a recording is named after expects of it; None if the name says nothing."""
    if (subject := _subject(recording)) is None:
        return None
    return estimated(recording.configs, *subject, H200)


def _subject(recording: Recording) -> tuple[AnyKernel, Problem] | None:
    """The kernel and problem that a recording is named after."""
    for kernel in map(registry.load, registry.installed().names()):
        if (problem := recordings.named_problem(kernel, recording.name)) is not None:
            return kernel, problem
    return None


def available(samplers: Sequence[str]) -> Iterator[str]:
    """Those of the samplers that can run here: Kernel Tuner is an extra."""
    missing = () if kernel_tuner.installed() else kernel_tuner.STRATEGIES
    return (name for name in samplers if name not in missing)
