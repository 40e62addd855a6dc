"""Stores finished trials while the search goes on: in a thread or, where a GPU measures, in a process of its own.

A trial takes a SQL storage 13 ms of Python, as much as a GPU takes to measure a config. In a thread that time is taken
from the search, which has no less to do; where nothing is measured, a replay, a process would take longer to start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, Self

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from pebble import ProcessPool

from autotune.measure import processes
from autotune.study.storage import open_storage


class Writer(Protocol):
    """Adds finished trials to the study it is for.

    Attributes:
        behind: How many calls of `write` may wait for the one at work.
    """

    behind: int

    def write(self, finished: Sequence[FrozenTrial]) -> Future[None]: ...

    def close(self) -> None: ...


class ThreadWriter:
    """Writes in a thread of this process."""

    behind = 0

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._thread = ThreadPoolExecutor(max_workers=1)

    def write(self, finished: Sequence[FrozenTrial]) -> Future[None]:
        return self._thread.submit(_add, self._study, finished)

    def close(self) -> None:
        self._thread.shutdown()


class StoringProcess:
    """A process that has a storage open; one does for all studies of a run.

    Args:
        url: The storage, one that other processes can open.
    """

    def __init__(self, url: str) -> None:
        self._pool = processes.pool(1, _open, url)
        # It loads Optuna and connects, which takes a second, while everything else starts.
        self._pool.schedule(_nothing)

    def writer(self, study: optuna.Study) -> ProcessWriter:
        return ProcessWriter(self._pool, study.study_name)

    def close(self) -> None:
        self._pool.close()
        self._pool.join()


class ProcessWriter:
    """Writes to the study of a name in a `StoringProcess`."""

    behind = 4

    def __init__(self, pool: ProcessPool, study_name: str) -> None:
        self._pool = pool
        self._study_name = study_name

    def write(self, finished: Sequence[FrozenTrial]) -> Future[None]:
        future: Future[None] = self._pool.schedule(_add_to, args=[self._study_name, list(finished)])
        return future

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
            self._writer.close()


_storage: BaseStorage


def _open(url: str) -> None:
    global _storage
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _storage = open_storage(url)


def _add_to(study_name: str, finished: Sequence[FrozenTrial]) -> None:
    _add(optuna.load_study(storage=_storage, study_name=study_name), finished)


def _add(study: optuna.Study, finished: Sequence[FrozenTrial]) -> None:
    for trial in finished:
        study.add_trial(trial)


def _nothing() -> None:
    return
