"""Finished trials reach the storage: in order, all, from a thread or from a process, and failures are heard of."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.errors import StorageError
from autotune.study import writer
from autotune.study.lease_table import table_of
from autotune.study.leases import Leases
from autotune.study.owner import Owner
from autotune.study.storage import open_storage
from autotune.study.writer import StoringProcess, ThreadWriter, WriteQueue
from tests.builders.light_server import light_server
from tests.builders.worker_pids import pid_in

COUNT = 12


def finished(number: int) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE,
        value=float(number),
        params={"x": number},
        distributions={"x": IntDistribution(0, COUNT)},
        user_attrs={"status": "ok"},
        intermediate_values={0: 1.0, 1: 2.0},
    )


class SlowWriter:
    """Writes when it is told to, and may fall so far behind."""

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.calls: list[tuple[Sequence[FrozenTrial], Future[None]]] = []
        self.closed = False

    def write(self, finished: Sequence[FrozenTrial]) -> Future[None]:
        self.calls.append((finished, Future()))
        return self.calls[-1][1]

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module", autouse=True)
def _light_server() -> Iterator[None]:
    """What stores loads Optuna and needs no torch."""
    with light_server(writer.__name__):
        yield


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[optuna.Study, StoringProcess]]:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    study = optuna.create_study(storage=open_storage(url, create=True), study_name="one")
    storing = StoringProcess(url)
    yield study, storing
    storing.close()


def test_a_process_stores_for_several_studies(process: tuple[optuna.Study, StoringProcess]) -> None:
    one, storing = process
    two = optuna.create_study(storage=one._storage, study_name="two")
    for study, numbers in ((one, range(COUNT)), (two, range(3))):
        with WriteQueue(storing.writer(study)) as queue:
            for number in numbers:
                queue.add(finished(number))
                queue.store()
        assert [trial.params["x"] for trial in study.get_trials()] == list(numbers)
    assert one.trials[3].value == 3.0
    assert one.trials[3].user_attrs == {"status": "ok"}
    assert one.trials[3].intermediate_values == {0: 1.0, 1: 2.0}


def test_what_a_process_could_not_store_is_raised(process: tuple[optuna.Study, StoringProcess]) -> None:
    study, storing = process
    optuna.delete_study(study_name="one", storage=study._storage)
    queue = WriteQueue(storing.writer(study))
    queue.add(finished(0))
    with pytest.raises(KeyError), queue:
        pass


def test_leaving_stores_the_last() -> None:
    study = optuna.create_study(storage=InMemoryStorage())
    with WriteQueue(ThreadWriter(study)) as queue:
        queue.add(finished(0))
        queue.store()
        queue.add(finished(1))
    assert [trial.params["x"] for trial in study.trials] == [0, 1]


def test_a_writer_falls_no_further_behind_than_it_may() -> None:
    writer = SlowWriter(behind=2)
    queue = WriteQueue(writer)
    for number in range(3):
        queue.add(finished(number))
        queue.store()
    assert [[trial.params["x"] for trial in call] for call, _ in writer.calls] == [[0], [1], [2]]
    writer.calls[0][1].set_exception(OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        queue.store()
    for _, future in writer.calls[1:]:
        future.set_result(None)
    with queue:
        pass
    assert writer.closed


def test_leaving_waits_for_what_is_written_after_a_failure() -> None:
    writer = SlowWriter(behind=2)
    queue = WriteQueue(writer)
    for number in range(2):
        queue.add(finished(number))
        queue.store()
    (_, failed), (_, later) = writer.calls
    failed.set_exception(OSError("disk full"))
    threading.Timer(0.2, later.set_result, [None]).start()
    with pytest.raises(OSError, match="disk full"), queue:
        pass
    assert later.done(), "a run that goes on at once would measure it again"


def stored(study: optuna.Study) -> list[int]:
    return [trial.params["x"] for trial in study.get_trials(deepcopy=False)]


@pytest.mark.parametrize("victim", ["the process", "the fork server"])
def test_a_storing_process_that_is_killed_is_replaced_and_stores_all_once(
    process: tuple[optuna.Study, StoringProcess], victim: str
) -> None:
    study, storing = process
    with WriteQueue(storing.writer(study)) as queue:
        for number in range(COUNT):
            queue.add(finished(number))
            queue.store()
            if number % 5 == 2:
                os.kill(pid_in(storing._process) if victim == "the process" else server_pid(), signal.SIGKILL)
    assert stored(study) == list(range(COUNT))


def server_pid() -> int:
    return int(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]


def test_what_a_killed_process_had_stored_is_not_stored_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    study = optuna.create_study(storage=open_storage(url, create=True), study_name="one")
    for again in (False, True):
        writer._store(url, "one", [finished(0), finished(1)][: 1 + again], None, again)
    assert stored(study) == [0, 1]


def test_a_storing_process_that_is_always_killed_ends_the_run_in_a_line(
    process: tuple[optuna.Study, StoringProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, storing = process
    monkeypatch.setattr(writer, "_store", _die)
    with pytest.raises(StorageError, match="was killed 3 times in a row"):
        storing.writer(study).write([finished(0)]).result()


def _die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_who_has_lost_the_lease_stores_nothing_more(
    process: tuple[optuna.Study, StoringProcess], tmp_path: Path, kind: str
) -> None:
    study, storing = process
    storage = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    leases, table = Leases(storage), table_of(storage)
    with leases.holding("study one", ""):
        lease = leases.lease("study one")
        made = storing.writer(study, lease) if kind == "process" else ThreadWriter(study, leases.check)
        made.write([finished(0)]).result()
        there = table.find("study one")
        assert there is not None
        assert table.replace("study one", there, Owner.new())
        with pytest.raises(StorageError, match="study one: another process has taken it over"):
            made.write([finished(1)]).result()
        made.close()
    assert stored(study) == [0]


def test_the_process_of_a_dead_coordinator_stores_nothing_more(
    process: tuple[optuna.Study, StoringProcess], tmp_path: Path
) -> None:
    study, storing = process
    dead = Leases(open_storage(f"sqlite:///{tmp_path / 'studies.db'}"))
    with dead.holding("study one", ""):
        lease = replace(dead.lease("study one"), owner=replace(dead.owner, pid=2**22 + 1))
        with pytest.raises(StorageError):
            storing.writer(study, lease).write([finished(0)]).result()
    assert stored(study) == []


def test_a_failure_is_told_by_its_true_name_from_another_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    study = optuna.create_study(storage=open_storage(url, create=True), study_name="one")
    storing = StoringProcess(url)
    try:
        storing.writer(study).write([]).result()
        (tmp_path / "studies.db").write_bytes(b"something else " * 1000)
        with pytest.raises(StorageError, match="--storage: its file "):
            storing.writer(study).write([finished(0)]).result()
    finally:
        storing.close()
