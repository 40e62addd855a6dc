"""Killed at any moment and run again, a study ends as if nobody had killed it: nothing measured twice, nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autotune.contract import Config
from autotune.measure.result import Measurement, Status
from autotune.run.options import Budget, RunOptions
from autotune.run.runner import Runner
from autotune.study import studies, trials
from autotune.study.result import StudyResult
from autotune.study.study import KernelStudy
from tests.builders.double_study import SPACE, SPEC
from tests.builders.mortal_storage import Killed, MortalStorage
from tests.builders.stand_in_backend import StandIn, StandInBackends

if TYPE_CHECKING:
    from tests.conftest import Cli

ROOT = Path(__file__).parents[2]
SHRINK = "lora_shrink-m16-k5120-n16-s1-l4-float16-NVIDIA_H200-replay"
NOT_MEASURED = {"compile_error", "out_of_resources"}

WaitUntil = Callable[[Callable[[], object]], None]


@pytest.mark.parametrize(
    ("sampler", "kill_at"),
    [
        pytest.param("random", 1, id="random"),
        # The model has begun to propose.
        pytest.param("auto", 17, id="auto"),
    ],
)
def test_sigkill_loses_nothing_but_the_trial_in_flight(
    cli: Cli, wait_until: WaitUntil, sampler: str, kill_at: int
) -> None:
    """A real signal, once; every moment, and again and again, is below."""
    cli.ok("study create --backend replay", cli.SHRINK)
    flags = f"--stop none --sampler {sampler} --trials"
    # So many that no run is over before it is killed, however late this process sees that it is time.
    with running(cli, f"{flags} 500") as process:
        wait_until(lambda: finished_trials(cli.database) >= kill_at)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was over before it was killed"
    wanted = measured(cli)[1] + 7
    cli.ok("study run", flags, str(wanted))
    shown, found = measured(cli)
    assert shown["result"]
    statuses = Counter(trial["status"] for trial in shown["trials"])
    assert found == wanted
    assert set(statuses) <= {"ok", "pruned"} | NOT_MEASURED, "a kill left a trial behind"
    assert_none_twice(shown["trials"])


def test_ctrl_c_stops_with_one_line(cli: Cli, wait_until: WaitUntil) -> None:
    cli.ok("study create --backend replay", cli.SHRINK)
    with running(cli, "--stop none --sampler random --trials 500") as process:
        wait_until(lambda: finished_trials(cli.database) >= 5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    replayed, stopped = errors.decode().splitlines()
    assert "recordings of NVIDIA H200" in replayed
    assert stopped == f"Error: stopped in {SHRINK}; nothing measured is lost: study run goes on from here"


def measured(cli: Cli) -> tuple[dict[str, Any], int]:
    """Returns the study as it is shown, and how many configs of it were measured."""
    shown = json.loads(cli.ok("study show --json", SHRINK))
    statuses = [trial["status"] for trial in shown["trials"]]
    return shown, sum(status in ("ok", "pruned") for status in statuses)


@contextlib.contextmanager
def running(cli: Cli, flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs ``study run`` in a process of its own."""
    command = [sys.executable, "-m", "autotune", "study", "run", *flags.split()]
    environment = os.environ | cli.env | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, cwd=cli.folder, stderr=subprocess.PIPE) as process:
        yield process


def finished_trials(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM trials WHERE state != 'RUNNING'").fetchone()
        return int(count)


def assert_none_twice(shown: list[dict[str, Any]]) -> None:
    told = [json.dumps(trial["params"], sort_keys=True) for trial in shown]
    assert len(set(told)) == len(told)


# Now in process, killed before each single write to the storage.

WANTED = 10


class Scripted(StandIn):
    """Measures by the config alone, and remembers what it was asked for."""

    statuses: tuple[Status, ...] = ("ok", "wrong_result", "pruned", "crashed", "timeout", "ok", "ok", "ok", "ok")

    def __init__(self) -> None:
        self.measured: list[int] = []

    def compile_failure(self, config: Config) -> Measurement | None:
        refused = (config["fault"] or 0) >= len(self.statuses)
        return Measurement("compile_error", message="refused") if refused else None

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        self.measured.append(SPACE.index(config))
        status = self.statuses[config["fault"] or 0]
        timed = {"ok": 7, "pruned": 3}.get(status, 0)
        return Measurement(status, (float(1 + SPACE.index(config)),) * timed, message="as scripted")

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        return [Measurement("ok", (float(1 + SPACE.index(config)),) * rounds) for config in configs]


@pytest.fixture
def backend() -> Scripted:
    return Scripted()


def new_study(storage: MortalStorage) -> KernelStudy:
    return studies.create(storage, "one", SPEC)


def run(storage: MortalStorage, backend: Scripted, last_write: int | None = None) -> StudyResult | None:
    """Runs the study as a fresh process would; None if it was killed."""
    storage.writes, storage.last_write = 0, last_write
    options = RunOptions("sqlite://", sampler="random", stop="none", allow_env_change=True)
    try:
        with Runner(storage, options, StandInBackends(lambda study: backend)) as runner:
            return runner.run(studies.load(storage, "one"), Budget(WANTED))
    except Killed:
        return None
    finally:
        storage.last_write = None


def statuses(storage: MortalStorage) -> Counter[str | None]:
    return Counter(trials.status(trial) for trial in studies.load(storage, "one").study.trials)


def assert_as_if_never_killed(storage: MortalStorage, backend: Scripted, kills: int) -> None:
    found = statuses(storage)
    measured = sum(n for status, n in found.items() if status not in NOT_MEASURED)
    assert measured == WANTED
    told = [t.params for t in studies.load(storage, "one").study.trials]
    assert None not in found, "a kill left a trial behind"
    assert len({json.dumps(params, sort_keys=True) for params in told}) == len(told)
    assert len(backend.measured) - measured <= 2 * kills, "more was measured again than was in flight or on its way"


def test_killed_before_any_write(backend: Scripted) -> None:
    storage = MortalStorage()
    new_study(storage)
    whole = run(storage, backend)
    assert whole is not None
    assert_as_if_never_killed(storage, backend, kills=0)
    for last_write in range(storage.writes):
        storage = MortalStorage()
        new_study(storage)
        backend.measured.clear()
        killed = run(storage, backend, last_write)
        result = run(storage, backend)
        assert result is not None
        assert result.decision.config == whole.decision.config
        assert killed is None
        assert_as_if_never_killed(storage, backend, kills=1)


def test_killed_again_and_again(backend: Scripted) -> None:
    storage = MortalStorage()
    new_study(storage)
    kills = 0
    while run(storage, backend, last_write=3) is None:
        kills += 1
        assert kills < 100
    assert kills > 3
    assert_as_if_never_killed(storage, backend, kills)
