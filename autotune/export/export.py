"""Writes finished studies into the files a server loads, and proves with the server's own lookup that it finds them.

Everything is prepared and proven in memory first: on an error nothing has been written.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from autotune import servers
from autotune.contract import Call
from autotune.errors import AutotuneError, InputError, one_of
from autotune.export.file import (
    Draft,
    ExportItem,
    OnExist,
    SkippedAlias,
    entry_of,
    fills_of,
    put_aliases,
    put_fills,
    put_results,
    read_in,
    resolver,
    shards_of,
    thin,
)
from autotune.export.thinning import Grid
from autotune.servers import FileFamily, Lookup, provenance
from autotune.servers.files import locked, read_json, table_text, write_all
from autotune.servers.provenance import Kind, Record


@dataclass(frozen=True)
class Proof:
    """What the server's lookup finds, after writing, for the shape of one entry, written or dropped."""

    record: Record
    lookup: Lookup


@dataclass(frozen=True)
class ExportReport:
    """What an export did.

    Attributes:
        files: The config files written, and the side-car.
        records: Every entry written: results, aliases and fills.
        skipped_aliases: Aliases not written.
        warnings: What a user should know before serving with the folder; one line each.
        proofs: One for each entry written, and for each that was dropped.
        grids: By file, what became of the token counts; of files alone where some might have been dropped.
    """

    files: tuple[Path, ...]
    records: tuple[Record, ...]
    skipped_aliases: tuple[SkippedAlias, ...]
    warnings: tuple[str, ...]
    proofs: tuple[Proof, ...]
    grids: Mapping[str, Sequence[Grid]] = field(default_factory=dict)

    def of_kind(self, kind: Kind) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.kind == kind)


def export(
    items: Iterable[ExportItem], directory: Path, on_exist: OnExist = "merge", required: Iterable[Call] = ()
) -> ExportReport:
    """Write the results into the folder, each under its own key and its aliases.

    Args:
        items: Results of finished studies, of any mix of servers, ops and GPUs.
        directory: The server's config folder; created if need be.
        on_exist: ``merge`` keeps the other entries of an existing file, ``overwrite`` drops them, ``new`` leaves the
            file alone and writes ``<name>_tuned_<n>.json``, which no server reads.
        required: Lookups of the same servers that are to be answered, too: by the server's default, where there is
            nothing better. They are taken for all that these servers look up.

    Where items bring timings, token counts that need no entry are dropped (`export.thinning`): each shape at them is
    known to lose less than 2% with what the server takes instead, and nothing to the default. Where the default changes
    with the token count, entries at both sides keep it to its side (`export.default_changes`).

    Raises:
        InputError: If there is nothing to export, two results claim one key, or the folder or a file in it cannot be
            used as it is; nothing has been written.
        AutotuneError: If another export is at work in the folder, or the server would not find what was written.
    """
    if on_exist not in get_args(OnExist):
        raise InputError(f"on_exist: got {on_exist!r}, allowed: {one_of(get_args(OnExist))}")
    drafts = _drafts(items)
    _require(drafts, required)
    families = _families(drafts)
    for family in families:
        _check_together(family)
    with locked(directory):
        records = provenance.read(directory)
        for family in families:
            _name_files(family, directory, on_exist)
            for draft in family:
                read_in(draft, directory, on_exist, records)
                put_results(draft)
                put_aliases(draft)
            put_fills(family)
            for draft in family:
                thin(draft)
        texts = {directory / draft.file: table_text(draft.table) for draft in drafts}
        for draft in drafts:
            _prove(draft, resolver(draft, json.loads(texts[directory / draft.file])))
        sidecar = {directory / provenance.FILE_NAME: provenance.text(_all_records(records, drafts))}
        write_all(sidecar | texts)
        proofs = [proof for draft in drafts for proof in _prove(draft, _server(draft, directory))]
    return ExportReport(
        files=(*texts, *sidecar),
        records=tuple(record for draft in drafts for record in draft.written.values()),
        skipped_aliases=tuple(skip for draft in drafts for skip in draft.skipped),
        warnings=tuple(_warnings(drafts, directory)),
        proofs=tuple(proofs),
        grids={draft.file: draft.grids for draft in drafts if draft.grids},
    )


def check_merge(wanted: Iterable[tuple[Call, str, int]], directory: Path) -> None:
    """Find out ahead whether results of these calls, on GPUs of these names and of so many shards, can be merged.

    Raises:
        InputError: If a file is malformed, or files that are only correct together contradict each other elsewhere.
    """
    records = provenance.read(directory)
    families: dict[tuple[FileFamily | None, str, str], dict[str, Draft]] = {}
    for call, gpu_name, shards in wanted:
        server = servers.get(call.server)
        file, key = server.file_name(gpu_name, call), server.key_path(call)
        together = server.family(call.op)
        family = families.setdefault((together, gpu_name, "" if together else f"{server.name}/{file}"), {})
        if call.op not in family:
            draft = family[call.op] = Draft(server, gpu_name, file, call, file=file)
            read_in(draft, directory, "merge", records)
        family[call.op].table.pop(key, None)
        family[call.op].origins[key] = Record(file, key, "own", None, {}, provenance={"shards": [shards]})
    for (together, _, _), family in families.items():
        if together:
            tables = {op: family[op].table if op in family else {} for op in together.ops}
            together.joint_fills(tables, shards_of(family.values()), fills_of(family.values()))


def _drafts(items: Iterable[ExportItem]) -> list[Draft]:
    drafts: dict[tuple[str, str], Draft] = {}
    for item in items:
        server = servers.get(item.call.server)
        file, key = server.file_name(item.gpu_name, item.call), server.key_path(item.call)
        draft = drafts.setdefault((server.name, file), Draft(server, item.gpu_name, file, item.call))
        first = draft.items.setdefault(key, item)
        if entry_of(server, first) != entry_of(server, item):
            raise InputError(
                f"{file}: at {'/'.join(key)}: got different configs from studies {first.study!r} and {item.study!r}, "
                f"which the server cannot tell apart; export one of them{_tuned_together(first, item)}"
            )
    if not drafts:
        raise InputError("export: got no finished study, needs at least one; run the studies first")
    return list(drafts.values())


def _tuned_together(*items: ExportItem) -> str:
    """A way out where kinds of batches are all that tells results apart."""
    workloads = {item.provenance.get("problem", {}).get("workload") for item in items}
    return ", or tune one study for both: --workload mixed" if len(workloads) > 1 else ""


def _require(drafts: list[Draft], required: Iterable[Call]) -> None:
    """Note on each file what else it must answer; files that have no result of their own are added."""
    by_file = {(draft.server.name, draft.server_file): draft for draft in drafts}
    gpus = {(draft.server.name, draft.gpu_name) for draft in drafts}
    for call in required:
        server = servers.get(call.server)
        for gpu_name in sorted(gpu for name, gpu in gpus if name == server.name):
            file = server.file_name(gpu_name, call)
            if (draft := by_file.get((server.name, file))) is None:
                draft = by_file[server.name, file] = Draft(server, gpu_name, file, call)
                drafts.append(draft)
            draft.required |= {server.key_path(call), *server.alias_paths(call)}


def _families(drafts: list[Draft]) -> list[list[Draft]]:
    """The files that are only correct together; most are families of one."""
    found: dict[tuple[FileFamily | None, str, str], list[Draft]] = {}
    for draft in drafts:
        together = draft.server.family(draft.call.op)
        alone = "" if together else f"{draft.server.name}/{draft.server_file}"
        found.setdefault((together, draft.gpu_name, alone), []).append(draft)
    return list(found.values())


def _check_together(family: list[Draft]) -> None:
    server, call = family[0].server, family[0].call
    if together := server.family(call.op):
        entries = {
            draft.call.op: {key: dict(entry_of(server, item)) for key, item in draft.items.items()} for draft in family
        }
        shards = {(draft.call.op, key): (item.shards,) for draft in family for key, item in draft.items.items()}
        together.check(entries, shards)


def _name_files(family: list[Draft], directory: Path, on_exist: OnExist) -> None:
    """Settle the files' names: a server must not read some old ones with some new ones of a family."""
    for draft in family:
        draft.file = draft.server_file
    if on_exist != "new" or not any((directory / draft.file).exists() for draft in family):
        return
    paths = [directory / draft.file for draft in family]
    index = next(i for i in itertools.count(1) if not any(_numbered(path, i).exists() for path in paths))
    for draft, path in zip(family, paths, strict=True):
        draft.file = _numbered(path, index).relative_to(directory).as_posix()


def _numbered(path: Path, index: int) -> Path:
    return path.with_name(f"{path.stem}_tuned_{index}.json")


def _server(draft: Draft, directory: Path) -> Callable[[Call], Lookup]:
    """The server's lookup in the folder; or in the file alone, if it has a name that the server does not read."""
    if draft.file != draft.server_file:
        return resolver(draft, read_json(directory / draft.file))
    return lambda call: draft.server.lookup(directory, draft.gpu_name, call)


def _prove(draft: Draft, lookup: Callable[[Call], Lookup]) -> list[Proof]:
    records = [*draft.written.values(), *draft.dropped.values()]
    proofs = [Proof(record, lookup(draft.call_at(record.key))) for record in records]
    for proof in proofs:
        record, found = proof.record, proof.lookup
        if found.config != record.found or not (found.exact or record.kind == "dropped"):
            raise AutotuneError(
                f"{draft.file}: the server's lookup of {'/'.join(record.key)} gives {found.config} by way of "
                f"{'/'.join(found.key_path)}, not {record.found}; do not serve with it, report this"
            )
    return proofs


def _all_records(records: list[Record], drafts: list[Draft]) -> list[Record]:
    """The records of other files, those of these files that still hold, and the new ones."""
    ours = {draft.file for draft in drafts}
    kept = [record for record in records if record.file not in ours]
    for draft in drafts:
        kept += (draft.origins | draft.written | draft.dropped).values()
    return kept


def _warnings(drafts: list[Draft], directory: Path) -> list[str]:
    warnings = [
        f"{draft.file}: no server reads this name; move it to {draft.server_file} to use it"
        for draft in drafts
        if draft.file != draft.server_file
    ]
    for server in {draft.server.name: draft.server for draft in drafts}.values():
        tables = {draft.file: draft.table for draft in drafts if draft.server.name == server.name}
        looked_up = {draft.file: draft.required for draft in drafts}
        warnings += server.warnings(directory, tables, looked_up)
    return warnings
