"""Opens an Optuna storage: SQLite in WAL mode, or any database URL that Optuna knows."""

from __future__ import annotations

import weakref
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import event, make_url
from sqlalchemy.exc import SQLAlchemyError

from autotune.errors import InputError
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.study import sqlite_file
from autotune.study.making import made_by_all
from autotune.untrusted.printing import printable, shortened
from autotune.untrusted.secrets import without_secrets

_EXTRAS = {
    "postgresql": ("postgresql", "postgresql+psycopg"),
    "mysql": ("mysql", "mysql+pymysql"),
    "mariadb": ("mysql", "mariadb+pymysql"),
}
"""The extra that brings a database's driver, and the URL that asks for that driver."""


def open_storage(url: str, create: bool = False) -> BaseStorage:
    """Opens the storage at a URL; only with `create` may a missing SQLite file be made.

    Raises:
        InputError: If the URL is malformed, the database is not reachable, or holds something else than Optuna studies.
    """
    shown = without_secrets(url)
    if not url:
        raise InputError(f"--storage: got '', allowed: a database's URL, such as {DEFAULT_STORAGE_URL}")
    if "://" not in url:
        raise InputError(
            f"--storage: got {shortened(shown)}, allowed: a database's URL; for this file sqlite:///{printable(shown)}"
        )
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            sqlite_file.check(url, parsed.database, create)
            storage = made_by_all(lambda: _sqlite(url))
        else:
            storage = made_by_all(lambda: RDBStorage(url))
    except ImportError as error:
        raise InputError(f"--storage: cannot open {shown}, {_driver_of(url)}") from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError, ValueError, TypeError) as error:
        reason = without_secrets(str(error.__cause__ or error).splitlines()[0])
        raise InputError(f"--storage: cannot open {shown} ({reason}); give e.g. {DEFAULT_STORAGE_URL}") from error
    # Else it is closed when Python happens to find what it stands in, and a SQLite file keeps its log beside it.
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _driver_of(url: str) -> str:
    """Says which driver a URL wants, and how to get one."""
    parsed = make_url(url)
    wanted = f"its driver is not installed ({parsed.drivername})"
    if (extra := _EXTRAS.get(parsed.get_backend_name())) is None:
        return f"{wanted}; install it, or give e.g. {DEFAULT_STORAGE_URL}"
    name, scheme = extra
    return f"{wanted}; pip install 'lora-autotune[{name}]' and give {scheme}://USER@HOST/DATABASE"


def shared(url: str) -> bool:
    """Tells whether another process that opens the URL finds the same studies."""
    parsed = make_url(url)
    return parsed.get_backend_name() != "sqlite" or not sqlite_file.in_memory(parsed.database)


def _sqlite(url: str) -> RDBStorage:
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": sqlite_file.BUSY_TIMEOUT_S}})

    @event.listens_for(storage.engine, "connect")
    def _wal(connection: Any, _record: object) -> None:
        # Half the time a trial takes with the default journal; safe against a kill, not against a power cut.
        cursor = connection.cursor()
        # Asked for in vain it would still wait for whoever else has the file open.
        if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    # The connection that the constructor opened has not met the hook.
    storage.engine.dispose()
    storage.engine.connect().close()
    return storage
