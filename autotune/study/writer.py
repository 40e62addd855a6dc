"""Stores finished trials while the search goes on: in a thread or, where a GPU measures, in a process of its own.

A trial takes a SQL storage 13 ms of Python, as much as a GPU takes to measure a config. In a thread that time is taken
from the search, which has no less to do; where nothing is measured, a replay, a process would take longer to start.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol, Self

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from autotune.errors import StorageError
from autotune.measure.processes import LOST, TRIES, WorkerPool
from autotune.study.lease_table import LeaseTable, table_of
from autotune.study.leases import Lease
from autotune.study.storage import open_storage
from autotune.study.storage_failure import failure_of


class Writer(Protocol):
    """Adds finished trials to the study it is for.

    Attributes:
        behind: How many calls of `write` may wait for the one at work.
    """

    behind: int

    def write(self, finished: Sequence[FrozenTrial]) -> Future[None]: ...

    def close(self) -> None: ...


class ThreadWriter:
    """Writes in a thread of this process.

    Args:
        check: Raises where the study is another's by now; called before anything is stored.
    """

    behind = 0

    def __init__(self, study: optuna.Study, check: Callable[[], None] = lambda: None) -> None:
        self._study = study
        self._check = check
        self._thread = ThreadPoolExecutor(max_workers=1)

    def write(self, finished: Sequence[FrozenTrial]) -> Future[None]:
        return self._thread.submit(self._write, finished)

    def close(self) -> None:
        self._thread.shutdown()

    def _write(self, finished: Sequence[FrozenTrial]) -> None:
        self._check()
        _add(self._study, finished)


class StoringProcess:
    """A process that has a storage open; one does for all studies of a run, and one that is killed is replaced.

    Args:
        url: The storage, one that other processes can open.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._process = WorkerPool(1, _be_quiet)
        # It loads Optuna and connects, which takes a second, while everything else starts.
        self._process.schedule(_open, url)
        # One call after the other: a trial whose process was killed is stored before the next one.
        self._thread = ThreadPoolExecutor(max_workers=1)

    def writer(self, study: optuna.Study, lease: Lease | None = None) -> ProcessWriter:
        """Returns what stores in a study, for as long as a lease is held; without one nobody else can."""
        return ProcessWriter(self, study.study_name, lease)

    def write(self, study_name: str, finished: Sequence[FrozenTrial], lease: Lease | None) -> Future[None]:
        """Stores trials in a study, in the order of the calls."""
        return self._thread.submit(self._write, study_name, list(finished), lease)

    def close(self) -> None:
        """Stores what is still to be stored, and ends the process."""
        self._thread.shutdown()
        self._process.close()

    def _write(self, study_name: str, finished: list[FrozenTrial], lease: Lease | None) -> None:
        for attempt in range(TRIES):
            try:
                self._process.schedule(_store, self._url, study_name, finished, lease, attempt > 0).result()
                return
            except LOST as error:
                lost = error
        raise StorageError(
            f"--storage: the process that stores trials was killed {TRIES} times in a row ({lost}); what is stored "
            "stays, and study run goes on from there"
        )


class ProcessWriter:
    """Writes to the study of a name in a `StoringProcess`."""

    behind = 4

    def __init__(self, storing: StoringProcess, study_name: str, lease: Lease | None) -> None:
        self._storing = storing
        self._study_name = study_name
        self._lease = lease

    def write(self, finished: Sequence[FrozenTrial]) -> Future[None]:
        return self._storing.write(self._study_name, finished, self._lease)

    def close(self) -> None:
        return


class WriteQueue:
    """Holds finished trials until the search has time for storing them, and stores them in order.

    A kill loses the trial in flight and what was not written yet: the trials of the last measurement, or the last few
    where the writer may fall behind. Leaving the queue (``with``) stores the last.

    Raises:
        Exception: What storing raised, at a later measurement or at the end.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._waiting: list[FrozenTrial] = []
        self._writing: deque[Future[None]] = deque()

    def add(self, finished: FrozenTrial) -> None:
        """Takes a trial, to be stored when there is time."""
        self._waiting.append(finished)

    def store(self) -> None:
        """Starts storing what waits; called when there is time."""
        self._wait(self._writer.behind)
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._writing.append(self._writer.write(waiting))

    def _wait(self, behind: int) -> None:
        """Waits until no more than so many calls are unfinished."""
        while len(self._writing) > behind or (self._writing and self._writing[0].done()):
            self._writing.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self.store()
            self._wait(0)
        finally:
            # Where one call failed the next ones go on: whoever runs the study again must find what they store.
            wait(self._writing)
            self._writer.close()


def _be_quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@functools.cache
def _opened(url: str) -> tuple[BaseStorage, LeaseTable]:
    storage = open_storage(url)
    return storage, table_of(storage)


def _open(url: str) -> None:
    _opened(url)


def _store(url: str, study_name: str, finished: Sequence[FrozenTrial], lease: Lease | None, again: bool) -> None:
    """Adds trials to a study.

    Args:
        again: A process that was killed may have added some of them; a study has each config once.

    Raises:
        StorageError: If the storage failed, or the lease is not held any more; whole, as it travels to another process.
    """
    try:
        storage, leases = _opened(url)
        if lease is not None:
            lease.check(leases)
        study = optuna.load_study(storage=storage, study_name=study_name)
        there = [trial.params for trial in study.get_trials(deepcopy=False)] if again else []
        _add(study, [trial for trial in finished if trial.params not in there])
    except (StorageInternalError, SQLAlchemyError) as error:
        raise failure_of(error) from None


def _add(study: optuna.Study, finished: Sequence[FrozenTrial]) -> None:
    for trial in finished:
        study.add_trial(trial)
