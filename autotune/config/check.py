"""Lints config files: what is wrong with anybody's files, and what a server that reads them would do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from autotune import servers
from autotune.config.kernels import of_other_kernels
from autotune.config.plan_lookups import check_lookups
from autotune.errors import InputError
from autotune.plan.plan import Plan
from autotune.servers import places, provenance
from autotune.servers.checking import Known
from autotune.servers.finding import CRASHES, Effect, Finding

_COMPILED_AHEAD: Effect = "latency while serving"
"""What does not come of configs that the plug-in launches: all are compiled before the first request."""


def check_folder(
    directory: Path, server: str, plan: Plan | None = None, max_chunk: int | None = None
) -> tuple[list[Finding], int]:
    """Finds what is wrong with the files in a server's config folder, by file and place, and counts the files.

    Args:
        plan: Of the model to be served: adds what its lookups come to, and leaves out what its server never reads.
        max_chunk: The server's ``--max-lora-chunk-size``, if it has that flag and it is known.

    Raises:
        InputError: If the folder cannot be read.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; give the server's config folder")
    known = Known(plan.serving, plan.shapes, max_chunk) if plan else Known(max_chunk=max_chunk)
    alone = places.may_stand_back(directory)
    found: list[Finding] = []
    files = 0
    for folder in places.folders(directory):
        # An output folder may hold results of the built-in kernels alone.
        if folder == directory and _holds_builtin_only(directory, server):
            continue
        by_plug_in = alone or folder != directory
        inside, count = servers.get(server).checker.check(folder, replace(known, by_plug_in=by_plug_in))
        inside += check_lookups(folder, plan, by_plug_in) if plan is not None else []
        if by_plug_in:
            inside = [_of_plug_in(finding) for finding in inside if finding.effect != _COMPILED_AHEAD]
        found += [_in_folder(finding, folder.relative_to(directory)) for finding in inside]
        files += count
    found += _unreadable_side_cars(directory)
    found += _misplaced(directory)
    found += of_other_kernels(directory)
    if not files and not found:
        message = f"holds no LoRA file that a {server} server reads: it takes its defaults; give its config folder"
        found.append(Finding(".", (), "no files", "slower", message))
    return sorted(set(found), key=lambda finding: finding.order), files


def _of_plug_in(finding: Finding) -> Finding:
    """Says what comes of a defect in a folder that no server reads: its plug-in survives what stops a server."""
    if finding.effect not in CRASHES:
        return finding
    survived = f"{finding.message}; the plug-in, which alone reads this folder, warns of it and runs its default there"
    return replace(finding, effect="slower", message=survived)


def _holds_builtin_only(directory: Path, server: str) -> bool:
    """Tells whether all files of a server in a folder are those of the built-in kernels, inside it."""
    inside = places.folder_for(directory, is_builtin=True)
    served = any(path for path in directory.rglob("*.json") if not path.is_relative_to(inside))
    return not served and bool(servers.get(server).checker.readers(inside))


def _in_folder(finding: Finding, folder: Path) -> Finding:
    return replace(finding, file=(folder / finding.file).as_posix() if finding.file else finding.file)


def _unreadable_side_cars(directory: Path) -> Iterator[Finding]:
    """Finds the side-cars, of an output folder and of the one inside it, that cannot be read."""
    for folder in places.folders(directory):
        try:
            provenance.read(folder)
        except InputError as error:
            file = (folder / provenance.FILE_NAME).relative_to(directory).as_posix()
            yield Finding(file, (), "side-car", "ignored", f"does not tell where entries are from: {error}")


def _misplaced(directory: Path) -> list[Finding]:
    """Finds results of the built-in kernels that stand where a server's own kernel reads them."""
    try:
        found = places.misplaced(directory)
    except InputError:
        return []  # `_unreadable_side_cars` tells of it.
    return [
        Finding(file, ("*",), "built-in kernel's entries", "slower", places.misplaced_message(count))
        for file, count in found.items()
    ]
