"""Runs our own searches on a recorded space, in the loop that runs them on a GPU."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import optuna

from autotune.bench.outcome import SearchOutcome
from autotune.contract import AnyKernel, Config, Problem, registry
from autotune.contract.gpu import H200
from autotune.measure import recording as recordings
from autotune.measure.recording import Recording
from autotune.measure.replay import ReplayBackend
from autotune.measure.result import Measurement
from autotune.run.clock import Phase
from autotune.run.loop import SearchLoop
from autotune.run.options import Budget
from autotune.search.api import Search, StopRule
from autotune.search.arrays import Floats
from autotune.search.estimate import estimated
from autotune.search.making import make_search
from autotune.search.neighbour import Neighbour, distance

_NEIGHBOUR_TRIALS = 100


@dataclass(frozen=True)
class Knowledge:
    """What a search is told before it begins.

    Attributes:
        neighbour: One finished neighbour: the nearest other recording of the same kernel.
        estimate: What the kernel expects of its configs, where it expects anything.
    """

    neighbour: bool = False
    estimate: bool = True


def run(name: str, recording: Recording, knowledge: Knowledge, budget: int, seed: int) -> SearchOutcome:
    """Runs the search of a name once; its set-up counts as thinking."""
    neighbours = _neighbours(recording, knowledge, seed)
    _subject(recording)  # loads kernels, which is not thinking
    start_s = time.monotonic()
    log_estimate = _estimate(recording, knowledge)
    search = make_search(name, recording.space, seed, neighbours, log_estimate)
    set_up_s = time.monotonic() - start_s
    outcome = replay(recording, search, budget)
    outcome.think_s += set_up_s
    return outcome


def replay(recording: Recording, search: Search, budget: int) -> SearchOutcome:
    """Runs a search to the end of its budget, and notes where its stop rule would have ended it."""
    outcome = SearchOutcome(recording)
    study = optuna.create_study(sampler=search.sampler)
    search = replace(search, stop=_NotedStop(search.stop, outcome))

    def on_trial(config: Config, measurement: Measurement) -> None:
        outcome.ask(config)

    clock = SearchLoop(study, recording.space, search, ReplayBackend(recording)).run(Budget(budget), on_trial)
    outcome.think_s = clock.spent_s(Phase.SEARCH) + clock.spent_s(Phase.LEARN)
    return outcome


class _NotedStop:
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


def _neighbours(recording: Recording, knowledge: Knowledge, seed: int) -> list[Neighbour]:
    """Searches the nearest other recording of the kernel, if one is to be known; returns what that measured."""
    if not knowledge.neighbour:
        return []
    there = recordings.find(recording.path.parent, f"{recording.kernel}_*")
    others = [recordings.load(path) for path in there if path != recording.path]
    if not others:
        return []
    nearest = min(others, key=lambda other: distance(recording.sizes, other.sizes))
    timed: list[tuple[Config, float]] = []

    def on_trial(config: Config, measurement: Measurement) -> None:
        if measurement.status == "ok":
            timed.append((config, math.log(measurement.median_us)))

    log_estimate = _estimate(nearest, knowledge)
    search = make_search("auto", nearest.space, seed, log_estimate=log_estimate)
    study = optuna.create_study(sampler=search.sampler)
    SearchLoop(study, nearest.space, search, ReplayBackend(nearest)).run(Budget(_NEIGHBOUR_TRIALS), on_trial)
    configs = [config for config, _ in timed]
    expected = None if log_estimate is None else [float(log_estimate[nearest.space.index(c)]) for c in configs]
    return [Neighbour(nearest.sizes, configs, [log_us for _, log_us in timed], expected)]


def _estimate(recording: Recording, knowledge: Knowledge) -> Floats | None:
    """Returns what the kernel that a recording is named after expects of its configs, or None if it cannot tell."""
    if not knowledge.estimate or (subject := _subject(recording)) is None:
        return None
    return estimated(recording.configs, *subject, H200)


def _subject(recording: Recording) -> tuple[AnyKernel, Problem] | None:
    """Finds the kernel and the problem that a recording is named after; None if the name says nothing."""
    for kernel in map(registry.load, registry.installed().names()):
        if (problem := recordings.named_problem(kernel, recording.name)) is not None:
            return kernel, problem
    return None
