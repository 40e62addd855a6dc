"""Whoever kills the server that workers are forked from costs no config: what was lost with it is done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pebble import ProcessExpired

from autotune.contract.gpu import INTERPRETER
from autotune.errors import AutotuneError
from autotune.measure import fork_server
from autotune.measure.machine import Machine
from autotune.measure.processes import WorkerPool
from autotune.measure.task import Task
from autotune.measure.worker import GpuWorker
from tests.builders.faulty import REFERENCE, module
from tests.builders.light_server import end_with_255, kill_server_once, light_server, nothing
from tests.builders.patient import PATIENT
from tests.builders.worker_pids import pid_in


@pytest.fixture
def light_pool() -> Iterator[WorkerPool]:
    """A pool of one worker, whose server may be killed again and again: it starts at once."""
    with light_server():
        made = WorkerPool(1, nothing)
        yield made
        made.close()


def test_the_first_server_of_a_process_does_not_hear_of_ctrl_c_while_it_loads() -> None:
    started = (
        "from autotune.measure import fork_server; fork_server.PRELOADED.clear(); fork_server.start_server();"
        "print(open(f'/proc/{fork_server.server_pid()}/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", started], capture_output=True, text=True, check=True)
    blocked = next(line for line in done.stdout.splitlines() if line.startswith("SigBlk"))
    assert int(blocked.split()[1], 16) >> (signal.SIGINT - 1) & 1


def test_the_gpu_worker_does_again_what_was_lost_with_the_server(tmp_path: Path) -> None:
    worker = GpuWorker(str(tmp_path))
    try:
        assert worker.call(_KillServerOnce(tmp_path / "mark")) == "done"
    finally:
        worker.close()


class _KillServerOnce:
    """A function of no arguments, as the GPU worker takes it."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __call__(self) -> str:
        return kill_server_once(self._mark)


def test_a_config_whose_compiler_is_lost_with_the_server_is_compiled_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path, compilers=1)
    try:
        backend = machine.backend(Task(REFERENCE, module.DoubleProblem(64), INTERPRETER, PATIENT, "cpu"))
        sound = {"repeats": 1, "fault": module.OK}
        assert backend.compile_failure(sound) is None
        server, other = fork_server.server_pid(), {"repeats": 2, "fault": module.OK}
        assert server is not None
        # It stands still with the compiler, which has the job by the time that the server is killed, or gets it after.
        machine.compilers.processes.schedule(signal.pause)
        backend.compile_ahead([other])
        os.kill(server, signal.SIGKILL)
        assert backend.compile_failure(other) is None
    finally:
        machine.close()


def test_a_config_whose_compilers_are_always_lost_with_the_server_ends_its_run_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, compilers=1)
    monkeypatch.setattr(fork_server, "is_lost_with", lambda server, error: True)
    try:
        task = Task(REFERENCE, module.DoubleProblem(64), INTERPRETER, PATIENT, "cpu")
        with pytest.raises(AutotuneError, match="the compilers were killed 3 times in a row"):
            machine.backend(task).compile_failure({"repeats": 1, "fault": module.COMPILE_CRASH})
    finally:
        machine.close()


def test_a_task_that_is_lost_with_the_server_is_told_from_one_that_ends_its_process(
    light_pool: WorkerPool, tmp_path: Path
) -> None:
    for function, arguments, lost in ((kill_server_once, [tmp_path / "mark"], True), (nothing, [], False)):
        light_pool.restart()  # What replaced the lost worker may have been forked by the dying server, and be lost.
        pid_in(light_pool)
        server = fork_server.server_pid()
        attempt = light_pool.schedule(function, *arguments)
        assert fork_server.is_lost_with(server, attempt.exception()) == lost


def test_a_process_that_ends_as_if_nobody_told_how_is_not_lost_with_a_server_that_lives(
    light_pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server, "_DIES_IN_S", 0.1)
    light_pool.schedule(nothing).result()
    error = light_pool.schedule(end_with_255).exception()
    assert isinstance(error, ProcessExpired)
    assert not fork_server.is_lost_with(fork_server.server_pid(), error)


def test_a_server_that_is_killed_while_it_holds_a_connection_is_replaced(light_pool: WorkerPool) -> None:
    fork_server.start_server()
    server = fork_server.server_pid()
    assert server is not None
    # It takes connections and answers none, as one that is dying.
    os.kill(server, signal.SIGSTOP)
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(light_pool.schedule(os.getpid).result()))
    caller.start()
    caller.join(0.5)
    assert not answers
    os.kill(server, signal.SIGKILL)
    caller.join()
    assert answers
    assert fork_server.server_pid() != server
