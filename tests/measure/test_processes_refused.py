"""A machine that can start no more processes ends a run in a line; what is left of it is whole, and it can go on."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from autotune.contract.gpu import INTERPRETER
from autotune.errors import AutotuneError
from autotune.measure import fork_server
from autotune.measure.machine import Machine
from autotune.measure.processes import WorkerPool
from autotune.measure.task import Task
from autotune.study.writer import StoringProcess
from tests.builders.faulty import REFERENCE, module, nothing
from tests.builders.patient import PATIENT
from tests.builders.worker_pids import pid_in


def test_a_pool_that_can_never_fork_says_so(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise BrokenProcessPool("refused")

    monkeypatch.setattr(fork_server, "wait_until_dead", lambda pid: True)
    monkeypatch.setattr("pebble.pool.process.WorkerManager.new_worker", refuse)
    with pytest.raises(AutotuneError, match=r"none can be started here .*refused.*study run goes on from there"):
        pool.schedule(nothing)
    monkeypatch.undo()
    assert pool.schedule(os.getpid).result()


def _no_more(*arguments: object) -> None:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


REFUSED = r"none can be started here \(BlockingIOError.*study run goes on from there"


def _busy_pool(folder: Path) -> WorkerPool:
    pool = WorkerPool(1, nothing)
    pool.schedule(nothing)
    return pool


STARTS: dict[str, Callable[[Path], WorkerPool | Machine | StoringProcess]] = {
    "a pool": _busy_pool,
    "a machine": lambda folder: Machine(folder, compilers=1),
    "a storing process": lambda folder: StoringProcess(f"sqlite:///{folder}/studies.db"),
}


@pytest.mark.parametrize(
    "step",
    [
        "multiprocessing.forkserver.ensure_running",
        "multiprocessing.forkserver.connect_to_new_process",
        "pebble.pool.process.channels",
    ],
)
@pytest.mark.parametrize("what", STARTS)
def test_what_the_system_starts_no_process_for_is_one_line_and_can_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, step: str
) -> None:
    monkeypatch.setattr("autotune.measure.machine.gpu_uuid", lambda: "GPU-of-this-test")
    monkeypatch.setattr(fork_server, "_DIES_IN_S", 0.0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(step, _no_more)
        with pytest.raises(AutotuneError, match=REFUSED) as failed:
            STARTS[what](tmp_path)
    assert "\n" not in str(failed.value)
    STARTS[what](tmp_path).close()


def test_no_process_outlives_a_pool_of_which_one_was_killed(wait_gone: Callable[[int], None]) -> None:
    pool = WorkerPool(3, nothing)
    try:
        pool.schedule(nothing).result()
        first = pool.start()
        processes = list(first.pool._pool_manager.worker_manager.workers)
        os.kill(processes[0], signal.SIGKILL)
        while first.is_active:
            time.sleep(0.01)
        assert pid_in(pool) not in processes
        for process in processes:
            wait_gone(process)
    finally:
        pool.close()


def test_a_worker_whose_set_up_could_not_be_handed_over_is_set_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(REFERENCE, module.DoubleProblem(64), INTERPRETER, PATIENT, "cpu")
    machine = Machine(tmp_path, compilers=1)
    try:
        backend, sound = machine.backend(task), {"repeats": 1, "fault": module.OK}
        assert backend.compile_failure(sound) is None
        machine.worker.restart()
        monkeypatch.setattr("pebble.pool.process.channels", _no_more)
        monkeypatch.setattr(fork_server, "_DIES_IN_S", 0.0)
        with pytest.raises(AutotuneError, match="none can be started here"):
            backend.measure(sound, None)
        monkeypatch.undo()
        assert backend.measure(sound, None).status == "ok"
    finally:
        machine.close()
