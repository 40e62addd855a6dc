"""Reads and writes JSON files that a server may read at any moment: strictly, atomically, one writer a folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from autotune.errors import AutotuneError, InputError
from autotune.untrusted import reading

KeyPath = tuple[str, ...]
"""Where an entry stands in a nested config file, outermost key first."""

Table = dict[KeyPath, dict[str, Any]]
"""A config file, flat: every entry by its key path."""

Shards = Mapping[tuple[str, KeyPath], Collection[int]]
"""By op and key, over how many GPUs servers split what the entry is for, each with its own number. Only of entries that
some server splits: it looks up other sizes of the same thing in other files."""

ReadJson = Callable[[Path], Any]
"""Reads a file as `read_json` does. Who makes many lookups in files that stay as they are passes `functools.cache` of
it: a large file takes 10 ms."""

LOCK_NAME = ".autotune.lock"
LOCK_TIMEOUT_S = 5.0

_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}")


def read_json(path: Path) -> Any:
    """Returns the parsed content of a file.

    Raises:
        InputError: If it cannot be read, or is no JSON; names the file and the place in it.
    """
    try:
        return reading.read_json(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check path and rights") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: no valid JSON at line {error.lineno} column {error.colno} ({error.msg}); repair or move it"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: no valid JSON ({error}); repair or move it") from error


def read_table(path: Path, levels: tuple[str, ...]) -> Table:
    """Returns the entries of a config file; empty objects hold no entry and are dropped.

    Raises:
        InputError: If the file is anything but nested objects of integer keys, one per level, around configs.
    """
    return dict(_entries(read_json(path), path, levels, ()))


def table_text(table: Table) -> str:
    """Returns the table as nested JSON with ascending keys: a lookup's ties go to the key that stands first."""
    nested: dict[str, Any] = {}
    for key_path in sorted(table, key=lambda key_path: [int(key) for key in key_path]):
        node = nested
        for key in key_path[:-1]:
            node = node.setdefault(key, {})
        node[key_path[-1]] = table[key_path]
    return json.dumps(nested, indent=2) + "\n"


def write_all(texts: Mapping[Path, str]) -> None:
    """Writes files in order, each replaced whole or not at all, and none before all are safely on the disk.

    Raises:
        InputError: If the folder cannot be written to.
    """
    # The names are fixed, the caller holds the folder's lock: what a killed export left behind is replaced.
    staged = {path: path.with_name(f".{path.name}.tmp") for path in texts}
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _new(staged[path]) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for path in texts:
            staged[path].replace(path)
        for folder in {path.parent for path in texts}:
            _sync_folder(folder)
    except OSError as error:
        raise InputError(
            f"{error.filename or 'output folder'}: cannot be written ({error.strerror}); free it or take another"
        ) from error
    finally:
        for temporary in staged.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Creates the folder if there is none, and holds its lock.

    Raises:
        InputError: If the folder cannot be created or written to.
        AutotuneError: If another process holds the lock.
    """
    import filelock  # here, because a server that only reads files must not need it

    lock = filelock.FileLock(directory / LOCK_NAME, timeout=LOCK_TIMEOUT_S)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise AutotuneError(
            f"{directory}: another export holds {LOCK_NAME}; wait until it has finished, then export again"
        ) from error
    except OSError as error:
        raise InputError(
            f"{directory}: cannot be written to ({error.strerror}); choose a folder you may write to"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _entries(
    node: Any, path: Path, levels: tuple[str, ...], key_path: KeyPath
) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    where = f"{path}: at {'/'.join(key_path) or 'the top'}"
    if not isinstance(node, dict):
        raise InputError(f"{where}: got {type(node).__name__}, allowed: an object; repair or move the file")
    if len(key_path) == len(levels):
        if deeper := [key for key, value in node.items() if isinstance(value, dict)]:
            raise InputError(f"{where}: got an object in {deeper[0]!r}, allowed: numbers; repair or move the file")
        if node:
            yield key_path, node
        return
    level = levels[len(key_path)]
    for key, child in node.items():
        if not _INTEGER.fullmatch(key):
            raise InputError(f"{where}: got {level} {key!r}, allowed: an integer; repair or move the file")
        yield from _entries(child, path, levels, (*key_path, key))


def _new(path: Path) -> TextIO:
    """Opens a new file: what a killed export left is removed, a link that somebody put there is not followed."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "w", encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
