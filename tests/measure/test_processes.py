"""Worker processes end with their parent and at their time limits, together with what they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from autotune.contract.gpu import INTERPRETER
from autotune.measure.cuda import CudaBackend
from autotune.measure.machine import Machine
from autotune.measure.processes import WorkerPool
from autotune.measure.settings import MeasureSettings
from autotune.measure.task import Task
from tests.builders.faulty import REFERENCE, module

COORDINATOR = """
    import os, signal, sys, threading
    from pathlib import Path
    from autotune.measure.machine import Machine

    machine = Machine(Path(sys.argv[1]), compilers=1)
    pids = [machine.worker.call(os.getpid), machine.compilers.processes.schedule(os.getpid).result()]
    # Busy workers do not notice that nobody is there to answer to.
    busy = [pool.schedule(signal.pause) for pool in (machine.worker._process, machine.compilers.processes)]
    while not all(future.running() for future in busy):
        pass
    print(*pids, flush=True)
    threading.Event().wait()
"""

STOPPED_AT_WORK = """
    import os, signal, sys
    from pathlib import Path
    from autotune.cli import stopping
    from autotune.measure.machine import Machine

    stopping.listen()
    stopping.loaded()
    with Machine(Path(sys.argv[1]), compilers=1) as machine, stopping.between_steps() as check:
        assert os.getpgrp() == os.getpid()
        begun = machine.compilers.processes.schedule(os.getpid)
        os.killpg(0, signal.SIGTERM)
        assert begun.result() == machine.compilers.processes.schedule(os.getpid).result()
        check()
"""

SHAPES = """
    import sys
    from autotune.contract import registry
    from autotune.contract.gpu import H200
    from autotune.testing.problems import problems_of

    kernels = [registry.load(name) for name in registry.installed().names()]
    assert len(kernels) > 9
    for kernel, problem in ((kernel, problem) for kernel in kernels for problem in problems_of(kernel)):
        for workload in kernel.workloads(problem):
            inputs = kernel.make_inputs(workload.problem, "meta", 0)
            assert kernel.launches(inputs, kernel.default_config(problem, H200))
            loaded = {"sympy", "torch._dynamo"} & set(sys.modules)
            assert not loaded, (kernel.name, problem, loaded)
"""

WaitUntil = Callable[[Callable[[], list[int]]], list[int]]
WaitGone = Callable[[int], None]


def test_killing_the_coordinator_leaves_no_worker(tmp_path: Path, wait_gone: WaitGone) -> None:
    command = [sys.executable, "-c", textwrap.dedent(COORDINATOR), str(tmp_path)]
    coordinator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert coordinator.stdout is not None
    pids = [int(pid) for pid in coordinator.stdout.readline().split()]
    coordinator.send_signal(signal.SIGKILL)
    coordinator.communicate()
    assert len(pids) == 2
    for pid in pids:
        wait_gone(pid)


def test_a_signal_to_all_of_a_group_stops_a_run_with_its_step_done(tmp_path: Path) -> None:
    """Slurm and ``timeout`` send it so."""
    command = [sys.executable, "-c", textwrap.dedent(STOPPED_AT_WORK), str(tmp_path)]
    done = subprocess.run(
        command, start_new_session=True, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    assert "KeyboardInterrupt" in done.stderr.splitlines()[-1], done.stderr


def test_what_a_pool_forgets_when_it_breaks_is_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pebble does so with what it is handed in that very moment."""
    monkeypatch.setattr("pebble.pool.process.TaskManager.tasks_abort", lambda *_: None)
    pool = WorkerPool(1, os.getpid)
    try:
        forgotten = pool.schedule(signal.pause)
        pool.start().pool._pool_manager.handle_broken_pool(BrokenProcessPool())
        with pytest.raises(BrokenProcessPool):
            forgotten.result()
        assert pool.schedule(os.getpid).result()
    finally:
        pool.close()


def test_shapes_for_a_compiler_load_no_compiler_of_torch() -> None:
    """It takes seconds in each of a dozen processes."""
    code = [sys.executable, "-c", textwrap.dedent(SHAPES)]
    subprocess.run(code, check=True, cwd=Path(__file__).parents[2])


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, compilers=1)
    yield made
    made.close()


def backend_on(machine: Machine, size: int = 64, compile_timeout_s: float = 300.0) -> CudaBackend:
    settings = MeasureSettings(measure_timeout_s=300.0, compile_timeout_s=compile_timeout_s)
    return machine.backend(Task(REFERENCE, module.DoubleProblem(size), INTERPRETER, settings, "cpu"))


def config(fault: int) -> dict[str, int]:
    return {"repeats": 1, "fault": fault}


def test_a_compiler_that_hangs_ends_at_its_time_limit(
    machine: Machine, wait_until: WaitUntil, wait_gone: WaitGone
) -> None:
    # Its size is the mark by which the process that it starts is known.
    hangs, sound = config(module.COMPILE_HANG), config(module.OK)
    # Loads what a compiler needs, so that the time limit is all for the one that hangs.
    assert backend_on(machine).compile_failure(sound) is None
    backend = backend_on(machine, size=1_000_000 + os.getpid(), compile_timeout_s=3.0)
    backend.compile_ahead([hangs])
    (started,) = wait_until(lambda: running("sleep", "86400", backend))
    assert backend.wait_compiled([hangs]) == [hangs]
    failure = backend.compile_failure(hangs)
    assert failure is not None
    assert (failure.status, failure.message) == ("timeout", "compiling took longer than 3 s")
    assert backend.measure(hangs, None).status == "timeout"
    # The compiler that took its place works; how long it takes on a busy machine is not the question.
    assert backend_on(machine, size=65).measure(sound, None).status == "ok"
    wait_gone(started)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("COMPILE_CRASH", "the compiler died (exit code -9)"),
        ("COMPILE_REFUSED", "CompilationError: at 1:0: this kernel cannot be compiled"),
    ],
)
def test_a_compiler_that_fails_costs_one_config(machine: Machine, fault: str, message: str) -> None:
    backend = backend_on(machine)
    fails, sound = config(getattr(module, fault)), config(module.OK)
    backend.compile_ahead([fails, sound])
    failure = backend.compile_failure(fails)
    assert failure is not None
    assert (failure.status, failure.message) == ("compile_error", message)
    assert backend.compile_failure(sound) is None
    assert backend.measure(sound, None).status == "ok"


def test_a_closed_machine_leaves_no_process(tmp_path: Path, wait_gone: WaitGone) -> None:
    machine = Machine(tmp_path, compilers=1)
    pids = [machine.worker.call(os.getpid), machine.compilers.processes.schedule(os.getpid).result()]
    machine.close()
    for pid in pids:
        wait_gone(pid)


def test_a_closed_machine_starts_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, compilers=1)
    machine.close()
    for pool in (machine.compilers.processes, machine.worker._process):
        with pytest.raises(RuntimeError, match="for good"):
            pool.schedule(os.getpid)


def running(program: str, argument: str, backend: CudaBackend) -> list[int]:
    """Finds the processes that the compiler of this backend's problem has started."""
    wanted = [program, argument, str(backend._task.problem.to_json()["size"])]
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if arguments(path) == wanted]


def arguments(path: Path) -> list[str]:
    try:
        return path.read_text().split("\0")[:-1]
    except OSError:
        return []
