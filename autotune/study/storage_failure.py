"""Says what goes wrong with a storage while it is in use, by its true name and in one line."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from autotune.errors import StorageError

_SQLITE = {
    "SQLITE_FULL": "the disk is full; make room",
    "SQLITE_IOERR": "the disk cannot be written or read, it may be full; make room, or repair it",
    "SQLITE_READONLY": "it is read-only; make the file and its folder writable",
    "SQLITE_CANTOPEN": "its file cannot be opened; make the file and its folder readable and writable",
    "SQLITE_BUSY": "another process has kept it busy for a minute; wait for that process, or stop it",
    "SQLITE_CORRUPT": "its file is damaged, or was overwritten while in use; put back a copy",
    "SQLITE_NOTADB": "its file was overwritten with something else; put back a copy",
}
"""What to do about SQLite's errors, by the beginning of their names."""


def failure_of(error: StorageInternalError | SQLAlchemyError | sqlite3.Error) -> StorageError:
    """Returns the line that tells a user what is wrong with the storage."""
    cause: BaseException = error
    while not isinstance(cause, DBAPIError) and cause.__cause__ is not None:
        cause = cause.__cause__
    original = cause.orig if isinstance(cause, DBAPIError) and cause.orig is not None else cause
    name = str(getattr(original, "sqlite_errorname", ""))
    known = next((advice for begin, advice in _SQLITE.items() if name.startswith(begin)), None)
    reason = known or (str(original).splitlines() or [type(original).__name__])[0]
    return StorageError(f"--storage: {reason}; what is stored stays, and study run goes on from there")


class Presence:
    """Notices that a storage's file was deleted, or another put in its place, since this was made."""

    def __init__(self, storage: BaseStorage) -> None:
        database = _file_of(storage)
        self._path = Path(database).absolute() if database else None
        self._there = self._identity()

    def check(self) -> None:
        """Sees whether what is written now can be found again.

        Raises:
            StorageError: If it cannot.
        """
        if (now := self._identity()) == self._there:
            return
        became = "deleted" if now is None else "replaced by another file"
        raise StorageError(
            f"--storage: {self._path} was {became} while it was in use, and nothing measured since is kept; "
            "put it back, or run again with a new one (study create)"
        )

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found else None


def _file_of(storage: BaseStorage) -> str | None:
    if not isinstance(storage, RDBStorage) or storage.engine.dialect.name != "sqlite":
        return None
    database = storage.engine.url.database
    return None if database == ":memory:" else database
