"""The default search against an exhaustive sweep of the same space, on this machine's GPU, in one run.

Both start with running processes and an empty compile cache. At the end the search's winner and the sweep's best are
raced side by side: what the search left, and whether its choice among near-equals was right (selection regret).
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import optuna

from autotune.contract import Config, registry
from autotune.contract.space import Space
from autotune.environment import current_environment
from autotune.measure.cuda import CudaBackend
from autotune.measure.machine import Machine
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
        winner_over_fastest: Median of its times over those of the fastest, round by round.
        entrants: The winner first.
    """

    rounds: int
    winner_us: float | None
    fastest_us: float
    winner_over_fastest: float
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


def run(task: Task, space: Space, trials: int, seed: int) -> SweepReport:
    """Searches and sweeps a space, then races what came of both."""
    with tempfile.TemporaryDirectory() as cache:
        with _started(Path(cache) / "search") as machine:
            search = _search(machine.backend(task), task, space, trials, seed)
        with _started(Path(cache) / "sweep") as machine:
            backend = machine.backend(task)
            sweep = _sweep(backend, space)
            race = _race(backend, search.best[0], sweep.best)
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


def _sweep(backend: CudaBackend, space: Space) -> Contest:
    """Measures every config of the space; slow ones are given up early, as the search does."""
    clock = Clock()
    found: list[tuple[float, Config]] = []
    statuses: Counter[str] = Counter()
    best_us: float | None = None
    for position, config in enumerate(space.configs):
        if position % _CHUNK == 0:
            backend.compile_ahead(space.configs[position : position + 2 * _CHUNK])
        with clock.timing(Phase.COMPILE_WAIT):
            result = backend.compile_failure(config)
        if result is None:
            with clock.timing(Phase.MEASURE):
                result = backend.measure(config, 1.05 * best_us if best_us else None)
        statuses[result.status] += 1
        if result.status == "ok":
            found.append((result.median_us, config))
            best_us = min(result.median_us, best_us or result.median_us)
    found.sort(key=lambda item: item[0])
    spent_s = {phase.value: clock.spent_s(phase) for phase in (Phase.COMPILE_WAIT, Phase.MEASURE)}
    best = [config for _, config in found[:FINALISTS]]
    return Contest(len(space), dict(statuses), {"wall": clock.wall_s, **spent_s}, best)


def _race(backend: CudaBackend, winner: Config, best: list[Config]) -> ClosingRace:
    configs = [winner, *(config for config in best if config != winner)]
    results = backend.race(configs, _RACE_ROUNDS)
    fastest = min((result for result in results if result.status == "ok"), key=lambda result: result.median_us)
    ratios = [w / f for w, f in zip(results[0].samples_us, fastest.samples_us, strict=True)]
    return ClosingRace(
        rounds=_RACE_ROUNDS,
        winner_us=_median_or_none(results[0]),
        fastest_us=fastest.median_us,
        winner_over_fastest=median(ratios),
        entrants=[Entrant(config, _median_or_none(m)) for config, m in zip(configs, results, strict=True)],
    )


def _median_or_none(result: Measurement) -> float | None:
    return result.median_us if result.status == "ok" else None
