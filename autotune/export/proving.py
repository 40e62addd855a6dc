"""Proves with the server's own lookup that it finds what was meant, for each entry written or dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from autotune.contract import Call
from autotune.errors import AutotuneError, InputError
from autotune.export.file import ConfigFile
from autotune.servers import Lookup
from autotune.servers.files import read_json
from autotune.servers.provenance import Record


@dataclass(frozen=True)
class Proof:
    """What the server's lookup finds, after writing, for the shape of one entry, written or dropped."""

    record: Record
    lookup: Lookup


def prove(file: ConfigFile, lookup: Callable[[Call], Lookup]) -> list[Proof]:
    """Looks up what this export wrote and dropped.

    Raises:
        InputError: If an entry of somebody else's, which a pin repeats, stops the server.
        AutotuneError: If the server would find anything else.
    """
    records = [*file.after.written.values(), *file.after.dropped.values()]
    proofs = [Proof(record, lookup(file.identity.call_at(record.key))) for record in records]
    for proof in proofs:
        record, found = proof.record, proof.lookup
        if found.failure is not None and (taken := record.provenance.get("taken")):
            raise InputError(
                f"{file.name}: the entry {'/'.join(taken)} was there before, and a server that takes it stops: "
                f"{found.failure.message}, or take the entry out"
            )
        if found.config != record.found or not (found.exact or record.kind == "dropped"):
            raise AutotuneError(
                f"{file.name}: the server's lookup of {'/'.join(record.key)} gives {found.config} by way of "
                f"{'/'.join(found.key_path)}, not {record.found}; do not serve with it, report this"
            )
    return proofs


def lookup_in_folder(file: ConfigFile, directory: Path) -> Callable[[Call], Lookup]:
    """Returns the server's lookup in the folder; in the file alone, if it has a name that the server does not read.

    Each file is read once: a lookup for each entry would else read as many entries.
    """
    identity, read = file.identity, cache(read_json)
    if file.name == identity.name:
        return lambda call: identity.server.lookup(directory, identity.gpu_name, call, read, identity.is_builtin)
    return lambda call: identity.server.resolve(read(directory / file.name), call, identity.is_builtin)
