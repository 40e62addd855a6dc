"""Puts results and aliases into a file, and fills it: no lookup may find what is meant for another shape."""

from __future__ import annotations

import json
from collections.abc import Callable

from autotune.contract import Call
from autotune.export.file import ConfigFile, SkippedAlias
from autotune.servers import KeyPath, Lookup
from autotune.servers.files import table_text


def put_results(file: ConfigFile) -> None:
    """Writes each result under its own key."""
    for key, item in file.wanted.results.items():
        file.put(key, "own", item.entry(file.identity.server), item)


def put_aliases(file: ConfigFile) -> None:
    """Writes results under the further keys that answer the same lookups, unless something better stands there."""
    server = file.identity.server
    for item in file.wanted.results.values():
        for key in server.alias_paths(item.call):
            if reason := _better(file, key):
                file.after.skipped.append(SkippedAlias(item.study, file.name, key, reason))
            else:
                file.put(key, "alias", item.entry(server), item)


def fill(file: ConfigFile) -> None:
    """Completes the file with defaults, and with what earlier exports dropped where it is needed again."""
    _fill_in(file)
    while _put_back(file):
        _fill_in(file)


def lookup_in(file: ConfigFile, text: str) -> Callable[[Call], Lookup]:
    """Returns the server's lookup in a file of this content."""
    content, identity = json.loads(text), file.identity
    return lambda call: identity.server.resolve(content, call, identity.is_builtin)


def _better(file: ConfigFile, key: KeyPath) -> str | None:
    """Returns why an alias must not be written at a key; None if it may."""
    if key in file.wanted.results:
        return f"study {file.wanted.results[key].study!r} has the result of this very key"
    record = file.before.records.get(key) or file.after.dropped.get(key)
    if record is None:
        return "the entry there is not from this tool, or was edited" if key in file.after.table else None
    return f"study {record.study!r} wrote the result of this very key" if record.undropped().kind == "own" else None


def _fill_in(file: ConfigFile) -> None:
    """Writes an entry wherever the server needs one."""
    table = file.after.table
    for key in sorted(file.identity.server.needed_paths({*table, *file.wanted.required}) - set(table)):
        if key in file.after.dropped:
            file.put_back(key)
        else:
            file.put(key, "default-fill", file.identity.default_at(key))


def _put_back(file: ConfigFile) -> bool:
    """Writes again what earlier exports dropped and the server would now miss; returns whether there was any.

    An export that thins again needs all of it, since it chooses among all token counts.
    """
    after = file.after
    after.dropped = {key: record for key, record in after.dropped.items() if key not in after.table}
    missed = list(after.dropped.values())
    if missed and not after.timings:
        lookup = lookup_in(file, table_text(after.table))
        missed = [record for record in missed if lookup(file.identity.call_at(record.key)).config != record.found]
    for record in missed:
        file.put_back(record.key)
    return bool(missed)
