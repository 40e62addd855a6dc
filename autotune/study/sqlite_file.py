"""Reads a SQLite database as a file: what stands at its path, without SQLAlchemy, which loads slowly."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from autotune.errors import InputError
from autotune.untrusted.secrets import without_secrets

BUSY_TIMEOUT_S = 60
SCHEMA = "v3.2.0.a"
"""The version of Optuna's tables that is read without Optuna; it opens, brings up or refuses every other."""
_FIRST_TABLES = {"studies", "version_info"}
"""What Optuna makes before everything else: a database that is just being made has no more."""
_PLAIN = re.compile(r"sqlite:///([^?%]+)")


def path_in(url: str) -> str | None:
    """Returns the path that a plain SQLite URL names; None for any other URL, and for one with options."""
    found = _PLAIN.fullmatch(url)
    return found[1] if found and not in_memory(found[1]) else None


def in_memory(database: str | None) -> bool:
    """Tells whether a SQLite URL's database is in no file."""
    return database in (None, "", ":memory:")


def check(url: str, database: str | None, create: bool) -> None:
    """Sees whether a storage can be at a SQLite URL; only with `create` may its file be missing.

    Raises:
        InputError: If there is something else, or nothing.
    """
    shown = without_secrets(url)
    if database is None or in_memory(database):
        raise InputError(f"--storage: got {shown}, a database in memory, which ends with the command; name a file")
    path = Path(database)
    if not path.exists():
        if not create:
            raise InputError(f"--storage: got {shown}, no such file; make one with: study create --storage {shown} ...")
        if not path.parent.is_dir():
            raise InputError(f"--storage: got {shown}, but the folder {path.parent} does not exist; create it first")
        return
    if path.is_dir():
        raise InputError(f"--storage: got {shown}, but {path} is a folder; name a file")
    try:
        with reading(path) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise InputError(f"--storage: {path} is not a SQLite database ({error}); name another file") from error
    if tables and not tables & _FIRST_TABLES:
        raise InputError(f"--storage: {path} is a database of something else (no Optuna tables); name another file")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a database that nothing is written to."""
    # A path in a URI, with its own escapes; no flag of `connect` opens a file only to read it.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)) as found:
        yield found


def is_known(connection: sqlite3.Connection) -> bool:
    """Tells whether a database's tables are of the version that is read here."""
    try:
        return connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]
    except sqlite3.OperationalError:  # It has no such table yet.
        return False
