"""Writes the files that servers load from finished studies, checks them, and looks up in them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from autotune import servers
from autotune.contract import Call
from autotune.errors import InputError
from autotune.export.export import ExportReport, check_merge
from autotune.export.export import export as write
from autotune.export.file import OnExist
from autotune.export.items import calls, export_items, is_builtin, shards
from autotune.report.trials import csv_rows
from autotune.servers import Lookup, places, provenance
from autotune.study.spec import StudySpec
from autotune.study.stored_study import StoredStudy

_FILLED_IN = "the plug-in runs its kernel's default: an export filled this entry in, and nobody timed it"


def export(
    finished: Sequence[StoredStudy],
    directory: Path,
    on_exist: OnExist = "merge",
    required: Iterable[Call] = (),
    thin: bool = False,
) -> ExportReport:
    """Writes finished studies into the files that their servers load, and proves that the servers find the entries.

    Args:
        on_exist: See `autotune.export.export.export`.
        required: Further lookups that the files must answer, as `required_by` tells of a plan.
        thin: Leave out the token counts that are known to lose nothing with the entries of the nearest one.

    Raises:
        InputError: If a study's kernel has no server to export to, or the folder cannot take the files; nothing has
            been written.
    """
    return write(export_items(finished, thin), directory, on_exist, required)


def check_export(specs: Iterable[StudySpec], directory: Path, on_exist: OnExist = "merge") -> None:
    """Finds out, before anything is written or tuned, what an export of these studies would be refused for.

    Raises:
        InputError: If a study's kernel has no server to export to, or the folder cannot take the files.
    """
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{directory}: cannot be written to; choose a folder you may write to")
    wanted: dict[bool, list[tuple[Call, str, int]]] = {False: [], True: []}
    for spec in specs:
        wanted[is_builtin(spec)] += [(call, spec.gpu.name, shards(spec)) for call in calls(spec)]
    for of_builtin, results in wanted.items():
        folder = places.folder_for(directory, of_builtin)
        provenance.read(folder)
        if on_exist == "merge":
            check_merge(results, folder, of_builtin)


def write_csv(studies: Iterable[StoredStudy], path: Path) -> None:
    """Writes every measured config of the studies, one row each.

    Raises:
        InputError: If the file cannot be written.
    """
    rows = [row for study in studies for row in csv_rows(study)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    try:
        # Who else writes into a storage may leave there what no encoding has.
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"{path}: cannot write it ({error.strerror}); name another file") from error


def look_up(directory: Path, call: Call, gpu: str | None = None) -> Lookup:
    """Says what a server would launch for a call with a config folder, and by which keys it gets there.

    Args:
        gpu: The server's GPU; None for the one whose files the folder holds.

    Raises:
        InputError: If the folder has files of no GPU, or of several, and none is named.
    """
    gpu = gpu or servers.get(call.server).command_line.gpu_in(directory)
    if places.may_stand_back(directory):
        return _look_up_by_plug_in(directory, call, gpu)
    return servers.get(call.server).lookup(directory, gpu, call)


def look_up_builtin(directory: Path, call: Call, gpu: str | None = None) -> Lookup | None:
    """Says what the built-in kernel would be launched with, by the results of it that an output folder holds; None if
    it holds none.

    Raises:
        InputError: As `look_up`.
    """
    if len(there := places.folders(directory)) == 1:
        return None
    gpu = gpu or servers.get(call.server).command_line.gpu_in(directory)
    return _look_up_by_plug_in(there[-1], call, gpu)


def _look_up_by_plug_in(folder: Path, call: Call, gpu: str) -> Lookup:
    """Looks a call up as the plug-in does; a warning tells where, or for which batches, it does not launch what is
    found."""
    server = servers.get(call.server)
    found = server.lookup(folder, gpu, call, by_plug_in=True)
    with suppress(InputError):  # of a side-car that cannot be read: `config check` tells of it
        record = provenance.by_place(folder).get((found.path, found.key_path)) if found.path else None
        if record and (note := server.plug_in_note(call, record.workload) if record.study else _FILLED_IN):
            return replace(found, warnings=(*found.warnings, note))
    return found
