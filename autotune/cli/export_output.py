"""Exports finished studies and prints what came of it, for `study export` and `tune`."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune import api, servers
from autotune.cli.advice import say_if_replayed
from autotune.cli.messages import tell
from autotune.contract import Call
from autotune.errors import InputError
from autotune.export.export import ExportReport
from autotune.export.file import OnExist
from autotune.export.thinning import Grid
from autotune.servers import places
from autotune.servers.command_line import CommandLine
from autotune.servers.timed_as import TimedAs, timed_as, told
from autotune.study.serving_notes import serving_notes
from autotune.study.sources import compiler_notes
from autotune.study.stored_study import StoredStudy
from autotune.untrusted.printing import say


@dataclass(frozen=True)
class Target:
    """Where an export goes: the folder, what becomes of its files, and a table beside them if one is wanted."""

    directory: Path
    on_exist: OnExist
    csv: Path | None = None


def export_studies(
    finished: Sequence[StoredStudy],
    target: Target,
    as_json: bool = False,
    required: Iterable[Call] = (),
    thin: bool = False,
) -> None:
    """Exports, then says which files were written, what was proven and what to mind.

    Args:
        required: Further lookups that the files must answer.
        thin: Leave out the token counts that are known to do with the entries of the nearest one.

    Raises:
        InputError: If a study's kernel has no server to export to, or the folder cannot take the files.
    """
    api.check_export([study.spec for study in finished], target.directory, target.on_exist)
    if target.csv is not None:
        check_csv(target.csv, "--csv")
    required = list(required)
    report = api.export(finished, target.directory, target.on_exist, required, thin)
    if target.csv is not None:
        api.write_csv(finished, target.csv)
    # A plan has told what holds of its server, whose flags are not known here: advice goes through all it may have.
    advice = [] if required else servers.advice(study.call for study in finished)
    (_say_json if as_json else _say_lines)(finished, report, target.directory, advice)


def _say_json(finished: Sequence[StoredStudy], report: ExportReport, directory: Path, advice: Sequence[str]) -> None:
    kernels = _kernels(report.files, directory)
    compilers = compiler_notes(study.spec for study in finished)
    data: dict[str, object] = {
        "files": [str(f) for f in report.files],
        "kernels": {file: " and ".join(sorted({t.source for t in timed})) for file, timed in kernels.items()},
        "timed": {file: [each.to_json() for each in timed] for file, timed in kernels.items()},
        "warnings": [*report.warnings, *compilers, *advice],
    }
    if report.grids:
        data["m"] = _grids_json(report.grids)
    say(json.dumps(data, indent=2))


def _say_lines(finished: Sequence[StoredStudy], report: ExportReport, directory: Path, advice: Sequence[str]) -> None:
    kernels = _kernels(report.files, directory)
    say_if_replayed(finished)
    for file in report.files:
        of = kernels.get(str(file))
        say(f"{file} (timed on: {told(of)})" if of else file)
    if report.grids:
        say(_grids_line(report.grids))
    say(f"{len(report.proofs)} lookups read back through the server's own rule: all find what was meant.")
    for command in serve_commands(report.files, directory):
        say(f"Serve with it: {command}")
    for line in builtin_lines(report.files, directory):
        say(line)
    compilers = compiler_notes(study.spec for study in finished)
    for warning in [*serving_notes(finished), *compilers, *report.warnings, *advice]:
        tell(f"Note: {warning}")


def check_csv(path: Path, flag: str) -> None:
    """Finds out ahead whether a CSV file can be written.

    Raises:
        InputError: If not.
    """
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"{flag}: cannot write {path}; name a file in a folder that is there")


def serve_commands(files: Iterable[Path], directory: Path) -> list[str]:
    """Returns how to serve with a folder, of each server that reads one of the files written into it."""
    lines = [servers.get(name).command_line for name in reversed(servers.names())]
    return [line.serve(directory) for line in lines if _is_served(line, files, directory)]


def builtin_lines(files: Sequence[Path], directory: Path) -> list[str]:
    """Says how results of the built-in kernels are read, and what not to set where the folder holds nothing else."""
    folder = places.folder_for(directory, is_builtin=True)
    found = [servers.get(name).command_line for name in servers.names()]
    names = [file.relative_to(folder) for file in files if file.is_relative_to(folder)]
    readers = [line for line in found if any(line.gpu_of_file(file) is not None for file in names)]
    if not readers:
        return []
    alone = [line for line in readers if not _is_served(line, files, directory)]
    place = f" and {places.VARIABLE}={shlex.quote(str(folder.resolve()))}" if alone else ""
    lines = [
        f"Timed on this project's own kernels: {folder}. Servers read it only with this project's plug-in: set "
        f"{places.SWITCH}=1{place}."
    ]
    # What was written there before may be the server's own kernels', for which it is set.
    unset = [line for line in alone if not _is_served(line, directory.rglob("*.json"), directory)]
    lines += [f"Leave {line.folder_variable} unset for it: it {line.costs_of_variable}." for line in unset]
    return lines


def _is_served(line: CommandLine, files: Iterable[Path], directory: Path) -> bool:
    """Tells whether one of the files stands where the server's own kernels read it."""
    folder = places.folder_for(directory, is_builtin=True)
    names = [file.relative_to(directory) for file in files if not file.is_relative_to(folder)]
    return any(line.gpu_of_file(name) is not None for name in names)


def _kernels(files: Iterable[Path], directory: Path) -> dict[str, list[TimedAs]]:
    """Says of each config file what its results were timed on."""
    of_files = timed_as(directory)
    named = {file: of_files.get(file.relative_to(directory).as_posix()) for file in files}
    return {str(file): timed for file, timed in named.items() if timed is not None}


def _grids_line(by_file: Mapping[str, Sequence[Grid]]) -> str:
    """Says how many m were left, in all files: as few as are enough for each max_loras and num_slices."""
    grids = [grid for found in by_file.values() for grid in found]
    answered = max(len(grid.kept) + len(grid.served_by) for grid in grids)
    kept = sorted({len(grid.kept) for grid in grids})
    if not any(grid.served_by for grid in grids):
        return f"m: {answered} looked up, all written"
    written = f"{kept[0]} to {kept[-1]}" if len(kept) > 1 else kept[0]
    loss = max(grid.largest_loss() for grid in grids)
    return f"m: {answered} looked up, {written} written (nearest of these costs at most {loss:.1%})"


def _grids_json(by_file: Mapping[str, Sequence[Grid]]) -> list[dict[str, object]]:
    return [
        {
            "file": file,
            "max_loras": int(grid.path[0]),
            "num_slices": int(grid.path[1]),
            "written": list(grid.kept),
            "dropped": {
                str(m): {"nearest": taken, "largest_loss": round(grid.largest_loss(m), 4)}
                for m, taken in grid.served_by.items()
            },
        }
        for file, grids in by_file.items()
        for grid in grids
    ]
