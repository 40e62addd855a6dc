"""Leases studies to who runs them, kept where the study is, so that no spelling of its place and no other machine runs
it too.

A lease is a row of the storage's database. Its owner lets it beat; it lapses when the owner is seen to have died or,
on another machine, when it has not beaten for a while by the clock of whoever looks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError

from autotune.errors import HeldError, StorageError
from autotune.study.lease_table import Held, LeaseTable, table_of
from autotune.study.owner import Owner

BEAT_S = 5.0
LAPSE_S = 30.0
"""Six beats missed."""
_LOOK_S = 0.1


@dataclass(frozen=True)
class _Seen:
    """What was seen of a lease, and when it was first seen so."""

    held: Held
    since_s: float


@dataclass(frozen=True)
class Lease:
    """A lease as its owner took it, in a form that travels to the process that stores for the owner."""

    owner: Owner
    name: str

    def check(self, table: LeaseTable) -> None:
        """Makes sure that the owner lives and still holds it.

        Raises:
            StorageError: If not.
        """
        if self.owner.surely_dead() or self.name not in table.held(self.owner, [self.name]):
            raise _taken_over(self.name)


class Leases:
    """The leases of a storage, as one owner in this process takes them.

    Args:
        now_s: Tells the time.
    """

    def __init__(self, storage: BaseStorage, now_s: Callable[[], float] = time.monotonic) -> None:
        self.owner = Owner.new()
        self._table = table_of(storage)
        self._now_s = now_s
        self._seen: dict[str, _Seen] = {}
        self._names: set[str] = set()
        self._heart = _Heart(lambda: self._table.beat(self.owner))

    @contextmanager
    def holding(self, name: str, doing: str) -> Iterator[None]:
        """Holds a lease during a block.

        Args:
            doing: What whoever holds it is doing, for the error.

        Raises:
            HeldError: If another owner holds it.
        """
        self._take(name, doing)
        try:
            yield
        finally:
            self._names.discard(name)
            if not self._names:
                self._heart.stop()
            # A storage that is gone has no lease either.
            with contextlib.suppress(SQLAlchemyError, StorageInternalError):
                self._table.remove(name, self.owner)

    @contextmanager
    def waiting_for(self, name: str, doing: str, limit_s: float) -> Iterator[None]:
        """Holds a lease that others hold for moments only.

        Raises:
            HeldError: If it is not free for this long.
        """
        end_s = self._now_s() + limit_s
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(self.holding(name, doing))
                    break
                except HeldError:
                    if self._now_s() >= end_s:
                        raise
                    time.sleep(_LOOK_S)
            yield

    def lease(self, name: str) -> Lease:
        """Returns a lease that is held, for those who write on its strength."""
        return Lease(self.owner, name)

    def check(self) -> None:
        """Makes sure that all that was taken is still held.

        Raises:
            StorageError: If another has taken it over meanwhile, or nobody has it any more.
        """
        if lost := self._names - self._table.held(self.owner, self._names) if self._names else set():
            raise _taken_over(sorted(lost)[0])

    def _take(self, name: str, doing: str) -> None:
        there = self._table.find(name)
        if there is None:
            taken = self._table.add(name, self.owner)
        else:
            taken = self._lapsed(name, there) and self._table.replace(name, there, self.owner)
        if not taken:
            by = there.owner if there else "another process"
            raise HeldError(f"{doing} by {by}; wait for it, or stop it")
        self._seen.pop(name, None)
        self._names.add(name)
        self._heart.start()

    def _lapsed(self, name: str, there: Held) -> bool:
        if there.owner.surely_dead():
            return True
        seen = self._seen.get(name)
        if seen is None or seen.held != there:
            self._seen[name] = _Seen(there, self._now_s())
            return False
        alien = there.owner.machine != self.owner.machine
        return alien and self._now_s() - seen.since_s >= LAPSE_S


def _taken_over(name: str) -> StorageError:
    return StorageError(
        f"{name}: another process has taken it over, or the storage was overwritten, while this one stood still; see "
        "study list"
    )


class _Heart:
    """Does something every few seconds, in a thread, from a start to a stop."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._stopped: threading.Event | None = None

    def start(self) -> None:
        if self._stopped is None:
            self._stopped = threading.Event()
            threading.Thread(target=self._run, args=[self._stopped], daemon=True).start()

    def stop(self) -> None:
        if self._stopped is not None:
            self._stopped.set()
            self._stopped = None

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(BEAT_S):
            # A busy database misses a beat; the next one comes.
            with contextlib.suppress(SQLAlchemyError):
                self._beat()
