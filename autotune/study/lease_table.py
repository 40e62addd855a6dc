"""Keeps the table of leases in a storage's own database, beside Optuna's; each change is one atomic statement."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import BigInteger, Column, Engine, Integer, MetaData, Row, String, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from autotune.study.making import made_by_all
from autotune.study.owner import Owner


@dataclass(frozen=True)
class Held:
    """A lease that somebody holds.

    Attributes:
        beat: Grows for as long as its owner lives; no clock of two machines need agree.
    """

    owner: Owner
    beat: int


class LeaseTable(Protocol):
    """Where leases are kept, by name."""

    def find(self, name: str) -> Held | None: ...

    def add(self, name: str, owner: Owner) -> bool:
        """Takes a lease that nobody holds; tells whether nobody did."""
        ...

    def replace(self, name: str, there: Held, owner: Owner) -> bool:
        """Takes a lease over, if it is still as it was seen; tells whether it was."""
        ...

    def remove(self, name: str, owner: Owner) -> None: ...

    def beat(self, owner: Owner) -> None:
        """Says that an owner lives, for all its leases."""
        ...

    def held(self, owner: Owner, names: Collection[str]) -> set[str]:
        """Returns those of the names that an owner holds."""
        ...


_TABLE = Table(
    "autotune_leases",
    MetaData(),
    Column("name", String(600), primary_key=True),
    Column("token", String(32), nullable=False),
    Column("machine", String(128), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started", String(32), nullable=False),
    Column("beat", BigInteger, nullable=False),
)
_C = _TABLE.c


class DatabaseLeases:
    """Leases as rows of a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        made_by_all(lambda: _TABLE.metadata.create_all(engine))

    def find(self, name: str) -> Held | None:
        with self._engine.connect() as connection:
            row = connection.execute(select(_TABLE).where(_C.name == name)).one_or_none()
        return None if row is None else _held(row)

    def add(self, name: str, owner: Owner) -> bool:
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(_TABLE).values(name=name, beat=0, **vars(owner)))
        except IntegrityError:
            return False
        return True

    def replace(self, name: str, there: Held, owner: Owner) -> bool:
        as_seen = (_C.name == name, _C.token == there.owner.token, _C.beat == there.beat)
        with self._engine.begin() as connection:
            return connection.execute(update(_TABLE).where(*as_seen).values(beat=0, **vars(owner))).rowcount == 1

    def remove(self, name: str, owner: Owner) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(_TABLE).where(_C.name == name, _C.token == owner.token))

    def beat(self, owner: Owner) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(_TABLE).where(_C.token == owner.token).values(beat=_C.beat + 1))

    def held(self, owner: Owner, names: Collection[str]) -> set[str]:
        with self._engine.connect() as connection:
            found = connection.execute(select(_C.name).where(_C.token == owner.token, _C.name.in_(names)))
            return {row.name for row in found}


class MemoryLeases:
    """Leases of a storage in memory, which no other process can open."""

    def __init__(self) -> None:
        self._rows: dict[str, Held] = {}
        self._lock = threading.Lock()

    def find(self, name: str) -> Held | None:
        return self._rows.get(name)

    def add(self, name: str, owner: Owner) -> bool:
        with self._lock:
            return self._rows.setdefault(name, Held(owner, 0)).owner is owner

    def replace(self, name: str, there: Held, owner: Owner) -> bool:
        with self._lock:
            if self._rows.get(name) != there:
                return False
            self._rows[name] = Held(owner, 0)
            return True

    def remove(self, name: str, owner: Owner) -> None:
        with self._lock:
            if name in self.held(owner, [name]):
                del self._rows[name]

    def beat(self, owner: Owner) -> None:
        with self._lock:
            for name, held in self._rows.items():
                if held.owner == owner:
                    self._rows[name] = Held(owner, held.beat + 1)

    def held(self, owner: Owner, names: Collection[str]) -> set[str]:
        return {name for name in names if name in self._rows and self._rows[name].owner == owner}


_of_memory: WeakKeyDictionary[BaseStorage, MemoryLeases] = WeakKeyDictionary()


def table_of(storage: BaseStorage) -> LeaseTable:
    """Finds the leases of a storage, and makes their table where there is none."""
    if isinstance(storage, RDBStorage) and not _in_memory(storage.engine):
        return DatabaseLeases(storage.engine)
    return _of_memory.setdefault(storage, MemoryLeases())


def _in_memory(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite" and engine.url.database in (None, "", ":memory:")


def _held(row: Row[tuple[object, ...]]) -> Held:
    return Held(Owner(row.token, row.machine, row.host, row.pid, row.started), row.beat)
