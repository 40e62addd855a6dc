"""Compares the default search with an exhaustive sweep of the same space, on this machine's GPU, in one run.

Both start with running processes and an empty compile cache. At the end the search's winner and the sweep's best are
raced side by side: what the search left, and whether its choice among near-equals was right (selection regret).
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import optuna

from autotune.contract import Config, registry
from autotune.contract.space import Space
from autotune.environment import current_environment
from autotune.errors import AutotuneError
from autotune.measure.backend import Backend
from autotune.measure.cuda import CudaBackend
from autotune.measure.machine import Machine
from autotune.measure.recording_writer import HOPELESS, NewRecording
from autotune.measure.result import Measurement
from autotune.measure.task import Task
from autotune.measure.timing import copy_bandwidth_bytes_per_s
from autotune.run.clock import Clock, Phase
from autotune.run.finalists import FINALISTS, decide
from autotune.run.loop import SearchLoop
from autotune.run.options import Budget
from autotune.search.estimate import estimated
from autotune.search.making import make_search

_RACE_ROUNDS = 200
# Enough to keep every compile process busy while the GPU measures.
_CHUNK = 128
_SLOWER = 1.05
"""A config this much slower than the best so far is given up early, as the search does."""


@dataclass(frozen=True)
class Contest:
    """One way through the space.

    Attributes:
        seconds: Wall seconds, split into waiting for compilers, measuring, searching, finalists.
        best: Its best configs, the choice first.
    """

    measured: int
    statuses: dict[str, int]
    seconds: dict[str, float]
    best: list[Config]


@dataclass(frozen=True)
class Entrant:
    """A config of the closing race.

    Attributes:
        median_us: None if it failed on the fresh inputs.
    """

    config: Config
    median_us: float | None


@dataclass(frozen=True)
class ClosingRace:
    """The search's winner against the sweep's best.

    Attributes:
        winner_us: The median of the search's winner; None if it failed.
        winner_over_fastest: Median of its times over those of the fastest, round by round; None if it failed.
        entrants: The winner first.
    """

    rounds: int
    winner_us: float | None
    fastest_us: float
    winner_over_fastest: float | None
    entrants: list[Entrant]


@dataclass(frozen=True)
class SweepReport:
    """What `bench sweep` found.

    Attributes:
        problem: As JSON, like the environment.
        configs: Size of the space.
        times_faster: The sweep's wall time over the search's.
    """

    kernel: str
    problem: dict[str, Any]
    environment: dict[str, str]
    configs: int
    search: Contest
    sweep: Contest
    race: ClosingRace
    times_faster: float


def run(task: Task, space: Space, trials: int, seed: int, record: NewRecording | None = None) -> SweepReport:
    """Searches and sweeps a space, then races what came of both.

    Args:
        record: Where to keep what the sweep measures, which then gives up the hopeless only.
    """
    with tempfile.TemporaryDirectory() as cache:
        with _started(Path(cache) / "search") as machine:
            search = _search(machine.backend(task), task, space, trials, seed)
        with _started(Path(cache) / "sweep") as machine:
            backend = machine.backend(task)
            measured = _Measured(backend, HOPELESS if record else _SLOWER)
            sweep = measured.sweep(space)
            if record is not None:
                record.write(measured.found, machine.worker.call(copy_bandwidth_bytes_per_s))
            race = closing_race(backend, search.best[0], sweep.best)
    return SweepReport(
        kernel=task.kernel,
        problem=task.problem.to_json(),
        environment=current_environment().known,
        configs=len(space),
        search=search,
        sweep=sweep,
        race=race,
        times_faster=sweep.seconds["wall"] / search.seconds["wall"],
    )


@contextmanager
def _started(cache_dir: Path) -> Iterator[Machine]:
    """Opens a machine whose GPU worker is up, so that no way through the space pays for its start."""
    with Machine(cache_dir) as machine:
        machine.worker.call(copy_bandwidth_bytes_per_s)
        yield machine


def _search(backend: CudaBackend, task: Task, space: Space, trials: int, seed: int) -> Contest:
    start_s = time.monotonic()
    log_estimate = estimated(space.configs, registry.load(task.kernel), task.problem, task.gpu)
    search = make_search("auto", space, seed, log_estimate=log_estimate)
    study = optuna.create_study(sampler=search.sampler, pruner=optuna.pruners.NopPruner())
    statuses: Counter[str] = Counter()
    loop = SearchLoop(study, space, search, backend)
    clock = loop.run(Budget(trials), lambda config, measurement: statuses.update([measurement.status]))
    race_start_s = time.monotonic()
    decision = decide(study, space, backend, task.settings.race_rounds)
    end_s = time.monotonic()
    seconds = {"wall": end_s - start_s, **clock.seconds, "finalists": end_s - race_start_s}
    best: list[Config] = [decision.config if decision else space.incumbent]
    return Contest(loop.measured_count, dict(statuses), seconds, best)


class _Measured:
    """A sweep over every config of a space.

    Args:
        give_up: A config this much slower than the best so far is given up early.

    Attributes:
        found: Each config and what came of it, in the order of the space.
    """

    def __init__(self, backend: CudaBackend, give_up: float) -> None:
        self._backend = backend
        self._give_up = give_up
        self._clock = Clock()
        self.found: list[tuple[Config, Measurement]] = []

    def sweep(self, space: Space) -> Contest:
        best_us: float | None = None
        for position, config in enumerate(space.configs):
            if position % _CHUNK == 0:
                self._backend.compile_ahead(space.configs[position : position + 2 * _CHUNK])
            result = self._measure(config, self._give_up * best_us if best_us else None)
            self.found.append((config, result))
            if result.status == "ok":
                best_us = min(result.median_us, best_us or result.median_us)
        ranked = sorted((m.median_us, i) for i, (_, m) in enumerate(self.found) if m.status == "ok")
        spent_s = {phase.value: self._clock.spent_s(phase) for phase in (Phase.COMPILE_WAIT, Phase.MEASURE)}
        best = [self.found[i][0] for _, i in ranked[:FINALISTS]]
        statuses = Counter[str](m.status for _, m in self.found)
        return Contest(len(space), dict(statuses), {"wall": self._clock.wall_s, **spent_s}, best)

    def _measure(self, config: Config, limit_us: float | None) -> Measurement:
        with self._clock.timing(Phase.COMPILE_WAIT):
            failed = self._backend.compile_failure(config)
        if failed is not None:
            return failed
        with self._clock.timing(Phase.MEASURE):
            return self._backend.measure(config, limit_us)


def closing_race(backend: Backend, winner: Config, best: Sequence[Config]) -> ClosingRace:
    """Races the search's winner against the sweep's best, on fresh inputs.

    Raises:
        AutotuneError: If none of them runs on these.
    """
    configs = [winner, *(config for config in best if config != winner)]
    results = backend.race(configs, _RACE_ROUNDS)
    running = [result for result in results if result.status == "ok"]
    if not running:
        raise AutotuneError(f"bench sweep: none of the best {len(configs)} configs runs on fresh inputs; run it again")
    first, fastest = results[0], min(running, key=lambda result: result.median_us)
    ratios = [w / f for w, f in zip(first.samples_us, fastest.samples_us, strict=True)] if first.status == "ok" else []
    return ClosingRace(
        rounds=_RACE_ROUNDS,
        winner_us=_median_or_none(first),
        fastest_us=fastest.median_us,
        winner_over_fastest=median(ratios) if ratios else None,
        entrants=[Entrant(config, _median_or_none(m)) for config, m in zip(configs, results, strict=True)],
    )


def _median_or_none(result: Measurement) -> float | None:
    return result.median_us if result.status == "ok" else None
