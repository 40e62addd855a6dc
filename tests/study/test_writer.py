"""Finished trials reach the storage: in order, all, from a thread or from a process, and failures are heard of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.study.storage import open_storage
from autotune.study.writer import StoringProcess, ThreadWriter, WriteQueue

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
