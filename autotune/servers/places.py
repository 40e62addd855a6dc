"""Says where results go in an output folder: those of a server's own kernel where it reads them, ours beside them.

A config that wins on one kernel can lose on another. So what was timed on the built-in kernels stands in a folder of
its own inside the server's, in the same layout, which no server reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.contract.source import BUILTIN
from autotune.errors import InputError
from autotune.servers import provenance
from autotune.servers.files import KeyPath, read_json
from autotune.servers.provenance import Record

BUILTIN_FOLDER = "autotune"
PREFIX = "LORA_AUTOTUNE_"
"""How the names of the plug-in's environment variables begin."""

VARIABLE = f"{PREFIX}CONFIG_DIR"
"""The environment variable that names the folder with results of the built-in kernels."""

SWITCH = f"{PREFIX}KERNELS"
"""The environment variable that turns on the plug-in, which puts the built-in kernels in place of a server's."""


def folder_for(directory: Path, is_builtin: bool) -> Path:
    """Returns where an export into an output folder writes the results of one kind."""
    return directory / BUILTIN_FOLDER if is_builtin else directory


def is_for_builtin(folder: Path) -> bool:
    """Tells whether a folder is the one for results of the built-in kernels, given in the output folder's place.

    A folder of that name that holds results of other kernels is an output folder like any other.
    """
    sources = {record.source for record in provenance.read(folder)} - {None}
    return folder.absolute().name == BUILTIN_FOLDER and sources == {BUILTIN}


def may_stand_back(folder: Path) -> bool:
    """Tells whether entries of a folder's files may leave calls to a server's own kernel (`servers.stand_back`)."""
    try:
        return is_for_builtin(folder)
    except InputError:  # whoever reads the side-car for its own sake tells of it
        return False


def folders(directory: Path) -> list[Path]:
    """Returns an output folder and, where it has one, the folder inside it for results of the built-in kernels."""
    inside = directory / BUILTIN_FOLDER
    return [directory, *([inside] if inside.is_dir() else [])]


def sources(directory: Path) -> dict[str, str]:
    """Says of each file that the side-cars of an output folder know whose kernel its results were timed on.

    Entries without a study are the server's default, whatever the kernel; a file of them alone is not listed.
    """
    found: dict[str, set[str]] = {}
    for folder in folders(directory):
        for record in provenance.read(folder):
            if record.source is not None and record.kind != "dropped":
                name = (folder / record.file).relative_to(directory).as_posix()
                found.setdefault(name, set()).add(record.source)
    return {name: " and ".join(sorted(kernels)) for name, kernels in sorted(found.items())}


def misplaced(directory: Path) -> dict[str, int]:
    """Counts, by file, the results of built-in kernels that stand where a server's own kernel reads them."""
    if is_for_builtin(directory):
        return {}
    by_file: dict[str, list[Record]] = {}
    for record in provenance.read(directory):
        if record.source == BUILTIN and record.kind in ("own", "alias"):
            by_file.setdefault(record.file, []).append(record)
    counts = {file: _standing(directory / file, records) for file, records in sorted(by_file.items())}
    return {file: count for file, count in counts.items() if count}


def _standing(path: Path, records: list[Record]) -> int:
    """Counts the records whose entries a file still holds; none if it is gone or unreadable."""
    try:
        content = read_json(path)
    except InputError:
        return 0
    return sum(_at(content, record.key) == record.config for record in records)


def _at(node: Any, key: KeyPath) -> Any:
    """Returns what stands at a key of a nested file; None if nothing does."""
    for part in key:
        node = node.get(part) if isinstance(node, dict) else None
    return node


def usable(records: list[Record], is_builtin: bool) -> list[Record]:
    """Returns the records that an export of results of one kind may go by.

    What an earlier release dropped of a built-in kernel's results is not put back where a server reads it.
    """
    return [record for record in records if is_builtin or record.kind != "dropped" or record.source != BUILTIN]


def misplaced_message(count: int) -> str:
    """Says what is wrong with results of built-in kernels in a served place, and what to do."""
    return (
        f"{count} entries were timed on this project's own kernel, and the server's own, which reads them, may be "
        f"slower with them than with none; move the file into {BUILTIN_FOLDER}/, or export results of the server's own "
        "kernel over them"
    )
