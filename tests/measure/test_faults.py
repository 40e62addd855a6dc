"""A config that crashes, hangs, lies or is refused costs one trial; the worker is replaced and goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.contract import Config, registry
from autotune.contract.gpu import INTERPRETER
from autotune.errors import AutotuneError
from autotune.measure import fork_server, worker_jobs
from autotune.measure.cuda import CudaBackend
from autotune.measure.machine import Machine
from autotune.measure.processes import WorkerPool
from autotune.measure.result import Measurement
from autotune.measure.task import Task
from tests.builders.faulty import REFERENCE, module
from tests.builders.patient import PATIENT
from tests.builders.worker_pids import pid_in

WaitUntil = Callable[[Callable[[], object]], None]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(tmp_path_factory.mktemp("cache"), compilers=1)
    yield made
    made.close()


@pytest.fixture
def backend(machine: Machine) -> Iterator[CudaBackend]:
    made = machine.backend(Task(REFERENCE, module.DoubleProblem(64), INTERPRETER, PATIENT, "cpu"))
    yield made
    made.close()


def config(fault: int) -> dict[str, int]:
    return {"repeats": 1, "fault": fault}


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("WRONG", "wrong_result"),
        ("NAN", "wrong_result"),
        ("UNWRITTEN", "wrong_result"),
        ("CRASH", "crashed"),
        ("ILLEGAL_ACCESS", "crashed"),
        ("OUT_OF_RESOURCES", "out_of_resources"),
    ],
)
def test_a_fault_is_one_failed_measurement(backend: CudaBackend, fault: str, status: str) -> None:
    failed = backend.measure(config(getattr(module, fault)), None)
    assert failed.status == status
    assert failed.message
    after = backend.measure(config(module.OK), None)
    assert after.status == "ok"
    assert len(after.samples_us) == PATIENT.replays


def test_a_hang_ends_at_its_time_limit(machine: Machine) -> None:
    short = replace(PATIENT, measure_timeout_s=1.0)
    backend = machine.backend(Task(REFERENCE, module.DoubleProblem(64), INTERPRETER, short, "cpu"))
    assert backend.measure(config(module.HANG), None).status == "timeout"
    # How long the worker that took its place needs on a busy machine is not the question.
    patient = machine.backend(Task(REFERENCE, module.DoubleProblem(64), INTERPRETER, PATIENT, "cpu"))
    assert patient.measure(config(module.OK), None).status == "ok"


def one_of(machine: Machine, kind: str) -> tuple[WorkerPool, int | None]:
    """Returns a pool of the machine, and one of its processes or the server that all are forked from."""
    pool = machine.worker._process if kind == "worker" else machine.compilers.processes
    return pool, fork_server.server_pid() if kind == "fork server" else pid_in(pool)


@pytest.mark.parametrize("noticed", [False, True], ids=["just now", "before"])
@pytest.mark.parametrize("kind", ["worker", "compiler", "fork server"])
def test_what_is_killed_while_it_has_nothing_to_do_is_replaced(
    machine: Machine, wait_until: WaitUntil, kind: str, noticed: bool
) -> None:
    backend = machine.backend(Task(REFERENCE, module.DoubleProblem(65), INTERPRETER, PATIENT, "cpu"))
    first = backend.measure(config(module.OK), None)
    assert first.status == "ok", first.message
    pool, pid = one_of(machine, kind)
    assert pid is not None
    before = pool.start()
    os.kill(pid, signal.SIGKILL)
    if noticed:
        wait_until(lambda: not before.is_active)
    for repeats in (2, 3):
        assert backend.measure({"repeats": repeats, "fault": module.OK}, None).status == "ok"


def test_a_worker_that_is_killed_while_it_makes_inputs_is_replaced(machine: Machine) -> None:
    backend = machine.backend(Task(REFERENCE, module.DoubleProblem(66), INTERPRETER, PATIENT, "cpu"))
    assert backend.compile_failure(config(module.OK)) is None
    pid = machine.worker.call(os.getpid)
    machine.worker.set_up(backend._job)
    os.kill(pid, signal.SIGKILL)
    assert backend.measure(config(module.OK), None).status == "ok"


def test_a_worker_that_is_always_killed_ends_its_study_in_a_line(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = machine.backend(Task(REFERENCE, module.DoubleProblem(67), INTERPRETER, PATIENT, "cpu"))
    monkeypatch.setattr("autotune.measure.worker_jobs.set_up", _die)
    with pytest.raises(AutotuneError, match="the GPU worker was killed 3 times before it began to measure"):
        machine.worker.measure(backend._job, config(module.OK), None)
    monkeypatch.undo()
    assert machine.worker.measure(backend._job, config(module.OK), None).status == "ok"


def _die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_nobody_predicted_raises(backend: CudaBackend) -> None:
    with pytest.raises(ZeroDivisionError):
        backend.measure(config(module.UNPREDICTED), None)


def test_hopeless_configs_are_given_up(backend: CudaBackend) -> None:
    given_up = backend.measure(config(module.OK), limit_us=1e-6)
    assert given_up.status == "pruned"
    assert 1 <= len(given_up.samples_us) <= 3


def test_a_race_drops_who_fails_and_times_the_others_side_by_side(backend: CudaBackend) -> None:
    good, other = {"repeats": 1, "fault": module.OK}, {"repeats": 2, "fault": module.OK}
    configs = [good, config(module.CRASH), other, config(module.WRONG), config(module.ILLEGAL_ACCESS)]
    results = backend.race(configs, rounds=4)
    assert [r.status for r in results] == ["ok", "crashed", "ok", "wrong_result", "crashed"]
    assert len(results[0].samples_us) == len(results[2].samples_us) == 4


class _KilledOnce:
    """A race in whose first run somebody kills the worker."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __call__(self, configs: list[Config], rounds: int) -> list[Measurement]:
        if not self._mark.exists():
            self._mark.touch()
            _die()
        return worker_jobs.race_all(configs, rounds)


def test_a_race_whose_worker_somebody_kills_is_run_again(
    backend: CudaBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    both = [{"repeats": repeats, "fault": module.OK} for repeats in (1, 2)]
    monkeypatch.setattr(worker_jobs, "race_all", _KilledOnce(tmp_path / "mark"))
    assert [r.status for r in backend.race(both, rounds=4)] == ["ok", "ok"]
    monkeypatch.setattr(worker_jobs, "race_all", _die)
    assert [r.status for r in backend.race(both, rounds=4)] == ["crashed", "crashed"], "a race that always kills ends"


def test_compiling_needs_no_gpu_and_reports_resources(machine: Machine) -> None:
    from autotune.contract.gpu import H200

    kernel = registry.load("lora_shrink")
    flags = {"dtype": "float16", "m": 16, "hidden_size": 512, "lora_rank": 16, "num_loras": 2}
    problem = kernel.problem_from_flags(flags)
    backend = machine.backend(Task("lora_shrink", problem, H200, PATIENT))
    default = kernel.default_config(problem, H200)
    assert backend.wait_compiled([default]) == [default]
    compiled = backend._compiled(default)
    assert compiled.status == "ok"
    assert compiled.resources is not None
    assert compiled.resources.registers > 0
    assert compiled.resources.shared_bytes > 0


def test_configs_of_two_problems_race_side_by_side(machine: Machine) -> None:
    tasks = [Task(REFERENCE, module.DoubleProblem(size), INTERPRETER, PATIENT, "cpu") for size in (64, 128)]
    entrants = [(tasks[0], config(module.OK)), (tasks[1], config(module.OK)), (tasks[1], config(module.WRONG))]
    raced = machine.race(entrants, rounds=4)
    assert [each.status for each in raced] == ["ok", "ok", "wrong_result"]
    assert [len(each.samples_us) for each in raced] == [4, 4, 0]


class _TogetherKilledOnce:
    """A race of several problems in whose first run somebody kills the worker."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __call__(self, entrants: list[tuple[worker_jobs.BenchJob, Config]], rounds: int) -> list[Measurement]:
        if not self._mark.exists():
            self._mark.touch()
            _die()
        return worker_jobs.race_together(entrants, rounds)


def test_a_race_of_two_problems_whose_worker_somebody_kills_is_run_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks = [Task(REFERENCE, module.DoubleProblem(size), INTERPRETER, PATIENT, "cpu") for size in (64, 128)]
    monkeypatch.setattr(worker_jobs, "race_together", _TogetherKilledOnce(tmp_path / "mark"))
    raced = machine.race([(task, config(module.OK)) for task in tasks], rounds=4)
    assert [each.status for each in raced] == ["ok", "ok"]


class _DiesOnce:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __call__(self) -> str:
        if not self._mark.exists():
            self._mark.touch()
            _die()
        return "done"


def test_a_measurement_of_the_gpu_itself_at_which_somebody_kills_the_worker_is_made_again(
    machine: Machine, tmp_path: Path
) -> None:
    assert machine.worker.call(_DiesOnce(tmp_path / "mark")) == "done"


def test_a_race_of_two_problems_that_ends_the_worker_is_one_error(machine: Machine) -> None:
    tasks = [Task(REFERENCE, module.DoubleProblem(size), INTERPRETER, PATIENT, "cpu") for size in (64, 128)]
    with pytest.raises(AutotuneError, match="the race ended the GPU worker"):
        machine.race([(tasks[0], config(module.OK)), (tasks[1], config(module.CRASH))], rounds=4)
    assert machine.race([(tasks[0], config(module.OK))], rounds=2)[0].status == "ok"
