"""The default search against an exhaustive sweep of the same space, on this machine's GPU, in one run.

Both start with running processes and an empty compile cache. At the end the search's winner and the sweep's best are
raced side by side: what the search left, and whether its choice among near-equals was right (selection regret).
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import optuna

from autotune.contract import Config, registry
from autotune.contract.space import Space
from autotune.environment import current_environment
from autotune.measure.cuda import CudaBackend, Machine, Task
from autotune.measure.result import Measurement
from autotune.measure.timing import copy_bandwidth_bytes_per_s
from autotune.run.finalists import FINALISTS, decide
from autotune.run.loop import Budget, SearchLoop
from autotune.search import make_search
from autotune.search.estimate import estimated

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


def run(task: Task, space: Space, trials: int, seed: int) -> dict[str, Any]:
    """Search, sweep, and race the outcomes; a JSON-able report."""
    with tempfile.TemporaryDirectory() as cache:
        machine = _started(Path(cache) / "search")
        try:
            search = _search(CudaBackend(machine, task), task, space, trials, seed)
        finally:
            machine.close()
        machine = _started(Path(cache) / "sweep")
        try:
            backend = CudaBackend(machine, task)
            sweep = _sweep(backend, space)
            race = _race(backend, search.best[0], sweep.best)
        finally:
            machine.close()
    return {
        "kernel": task.kernel,
        "problem": task.problem.to_json(),
        "environment": current_environment(),
        "configs": len(space),
        "search": asdict(search),
        "sweep": asdict(sweep),
        "race": race,
        "times_faster": sweep.seconds["wall"] / search.seconds["wall"],
    }


def _started(cache_dir: Path) -> Machine:
    """A machine whose processes run and whose GPU worker has its context."""
    machine = Machine(cache_dir)
    machine.worker.call(copy_bandwidth_bytes_per_s)
    return machine


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
    seconds = {
        "wall": end_s - start_s,
        "compile_wait": clock.compile_wait_s,
        "measure": clock.measure_s,
        "search": clock.think_s,
        "storage": clock.store_s,
        "finalists": end_s - race_start_s,
    }
    best: list[Config] = [decision.config if decision else space.incumbent]
    return Contest(loop.measured_count, dict(statuses), seconds, best)


def _sweep(backend: CudaBackend, space: Space) -> Contest:
    """Every config of the space, under the same early giving-up as the search."""
    start_s = time.monotonic()
    compile_wait_s = measure_s = 0.0
    found: list[tuple[float, Config]] = []
    statuses: Counter[str] = Counter()
    best_us: float | None = None
    for position, config in enumerate(space.configs):
        if position % _CHUNK == 0:
            backend.compile_ahead(space.configs[position : position + 2 * _CHUNK])
        begin_s = time.monotonic()
        result = backend.compile_failure(config)
        middle_s = time.monotonic()
        result = result or backend.measure(config, 1.05 * best_us if best_us else None)
        compile_wait_s += middle_s - begin_s
        measure_s += time.monotonic() - middle_s
        statuses[result.status] += 1
        if result.status == "ok":
            found.append((result.median_us, config))
            best_us = min(result.median_us, best_us or result.median_us)
    found.sort(key=lambda item: item[0])
    seconds = {"wall": time.monotonic() - start_s, "compile_wait": compile_wait_s, "measure": measure_s}
    return Contest(len(space), dict(statuses), seconds, [config for _, config in found[:FINALISTS]])


def _race(backend: CudaBackend, winner: Config, best: list[Config]) -> dict[str, Any]:
    entrants = [winner, *(config for config in best if config != winner)]
    results = backend.race(entrants, _RACE_ROUNDS)
    times_us = [_median_or_none(result) for result in results]
    fastest_us = min(time_us for time_us in times_us if time_us is not None)
    ratios = [w / f for w, f in zip(results[0].samples_us, _fastest(results).samples_us, strict=True)]
    return {
        "rounds": _RACE_ROUNDS,
        "winner_us": times_us[0],
        "fastest_us": fastest_us,
        "winner_over_fastest": median(ratios),
        "entrants": [{"config": dict(c), "median_us": t} for c, t in zip(entrants, times_us, strict=True)],
    }


def _fastest(results: list[Measurement]) -> Measurement:
    return min((result for result in results if result.status == "ok"), key=lambda result: result.median_us)


def _median_or_none(result: Measurement) -> float | None:
    return result.median_us if result.status == "ok" else None
