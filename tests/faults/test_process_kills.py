"""The processes of a run are killed at random moments: each is replaced, and the run ends with all its trials, once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.storages import BaseStorage

from autotune.contract import registry
from autotune.contract.gpu import INTERPRETER
from autotune.contract.space import Space
from autotune.errors import AutotuneError
from autotune.measure import fork_server
from autotune.measure.machine import Machine
from autotune.measure.processes import TRIES
from autotune.measure.settings import MeasureSettings
from autotune.measure.task import Task
from autotune.run.options import Budget, RunOptions
from autotune.run.runner import Runner
from autotune.study import studies, trials
from autotune.study.storage import open_storage
from autotune.study.study import KernelStudy
from tests.builders.double_study import HERE
from tests.builders.specs import spec_on_gpu
from tests.builders.stand_in_backend import StandInBackends
from tests.builders.time_limit import at_most

REFERENCE = f"{Path(__file__).parents[1] / 'builders/unhurried_kernel.py'}:KERNEL"
KERNEL = registry.load(REFERENCE)
module = sys.modules[type(KERNEL).__module__]
# Long limits: a process that is replaced on a busy machine is no config's fault.
SETTINGS = MeasureSettings(replays=4, race_rounds=8, compile_timeout_s=300.0, measure_timeout_s=300.0)
WHOLE_SPACE = Budget(1000)
VICTIMS = ("GPU worker", "compiler", "fork server", "storing process")


class Killer(threading.Thread):
    """Kills processes of a run.

    Args:
        most_s: Longest pause between two kills.
    """

    def __init__(self, machine: Machine, running: Runner, moments: random.Random, kills: int, most_s: float) -> None:
        super().__init__(daemon=True)
        self.done = Counter[str]()
        self._machine, self._running = machine, running
        self._moments, self._kills, self._most_s = moments, kills, most_s
        self._killed: set[int] = set()

    def run(self) -> None:
        for _ in range(self._kills):
            time.sleep(self._moments.uniform(0, self._most_s))
            victim = self._moments.choice(VICTIMS)
            while not self._kill(victim):
                time.sleep(0.01)  # the last one's successor has not been started yet
            self.done[victim] += 1

    def _kill(self, victim: str) -> bool:
        """Kills a process that has not been killed yet; returns whether there was one."""
        alive = [pid for pid in self._pids(victim) if pid not in self._killed]
        if not alive:
            return False
        pid = self._moments.choice(alive)
        self._killed.add(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def _pids(self, victim: str) -> list[int]:
        if victim == "fork server":
            pid = fork_server.server_pid()
            return [] if pid is None else [pid]
        storing = self._running._storing
        pools = {"GPU worker": self._machine.worker._process, "compiler": self._machine.compilers.processes}
        pool = (pools if storing is None else pools | {"storing process": storing._process})[victim]._pool
        return [] if pool is None else list(pool.pool._pool_manager.worker_manager.workers)


@pytest.mark.long
@pytest.mark.parametrize(("kills", "seed"), [(30, 0)])
def test_processes_that_are_killed_at_random_moments_cost_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int, seed: int
) -> None:
    monkeypatch.setattr("autotune.run.identity.current_environment", lambda: HERE)
    database = tmp_path / "studies.db"
    url = f"sqlite:///{database}"
    storage = open_storage(url, create=True)
    made, again = new_studies(storage), list[str]()
    with at_most(900), Machine(tmp_path / "triton", compilers=2) as machine:
        backends = StandInBackends(lambda study: machine.backend(_task(study)))
        with Runner(storage, RunOptions(url, sampler="random", stop="none"), backends) as running:
            begin_s = time.monotonic()
            done = [finish(running, next(made), again)]
            # As long as a study takes here that starts its processes, so that kills meet all of its parts.
            killer = Killer(machine, running, random.Random(seed), kills, time.monotonic() - begin_s)
            killer.start()
            while killer.is_alive():
                done.append(finish(running, next(made), again))
            done.append(finish(running, next(made), again))
    wrong = sum((unearned(study) for study in done), Counter[str]())
    print(f"seed {seed}, {len(done)} studies, kills: {dict(killer.done)}; unearned failures: {dict(wrong)}")
    print(f"asked again: {again}")
    assert killer.done.total() == kills
    assert set(wrong) <= {"crashed", "compile_error"}
    assert wrong["crashed"] <= killer.done["GPU worker"], "each kill costs the config in flight, no more"
    assert wrong["compile_error"] <= killer.done["compiler"]
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def new_studies(storage: BaseStorage) -> Iterator[KernelStudy]:
    """Creates studies of ever other problems, so that each makes inputs of its own."""
    size = 64
    while True:
        spec = spec_on_gpu(REFERENCE, module.DoubleProblem(size), INTERPRETER, HERE, "wide")
        yield studies.create(storage, f"size-{size}", replace(spec, settings=SETTINGS))
        size += 1


def _task(study: KernelStudy) -> Task:
    return Task(study.spec.kernel, study.problem, study.gpu, study.settings, "cpu")


def finish(running: Runner, study: KernelStudy, again: list[str]) -> KernelStudy:
    """Runs a study to its result; what a run that ended without one said is put on a list, and it is asked again."""
    for _ in range(TRIES):
        try:
            running.run(study, WHOLE_SPACE)
            return study
        except AutotuneError as error:
            again.append(str(error))
    raise AssertionError(f"{study.name} never ends: {again}")


def unearned(study: KernelStudy) -> Counter[str]:
    """Counts the statuses that a study's configs have only by a kill; every config has one trial."""
    space = Space.build(study.kernel, study.problem, study.gpu, "wide")
    stored = study.study.get_trials()
    assert [trial.number for trial in stored] == list(range(len(space)))
    assert sorted(found.index for found in trials.measured(stored, space)) == list(range(len(space)))
    statuses = Counter(str(trials.status(trial)) for trial in stored)
    assert study.result is not None
    assert study.result.counts == statuses
    return Counter(
        status
        for trial in stored
        for status in [str(trials.status(trial))]
        if status not in module.ENDS_AS[trial.params["fault"]]
    )
