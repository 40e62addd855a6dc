"""Finds and reads the folder of configs that were timed on our kernels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.errors import InputError
from autotune.servers import places, provenance
from autotune.servers.files import read_json


@dataclass(frozen=True)
class TunedFolder:
    """Where the plug-in reads configs of ours.

    Attributes:
        path: The folder; None where there is none to read.
        about: Which it is, or why there is none, in a few words.
    """

    path: Path | None
    about: str

    @classmethod
    def of(cls, server_variable: str) -> TunedFolder:
        """Finds it by the environment: a folder of its own, else the one inside the server's.

        Args:
            server_variable: The variable that names the server's own folder of configs.
        """
        for variable, inside in ((places.VARIABLE, ""), (server_variable, places.BUILTIN_FOLDER)):
            if named := os.environ.get(variable):
                path = Path(named) / inside
                if path.is_dir():
                    return cls(path, f"{path}, {_counted(path)}")
                what = f"has no {inside}/" if inside and Path(named).is_dir() else "is no folder"
                return cls(None, f"none, since {variable}={named} {what}: defaults")
        return cls(None, f"none, since neither {places.VARIABLE} nor {server_variable} is set: defaults")


def entries_in(folder: Path, is_wanted: Callable[[str], bool]) -> int:
    """Counts the entries of those of a folder's files whose names are wanted, without knowing their levels."""
    return sum(_entries_of(file) for file in _files(folder) if is_wanted(file.name))


def _counted(folder: Path) -> str:
    return f"{entries_in(folder, lambda _: True)} configs in {len(_files(folder))} files"


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*.json")) if file.name != provenance.FILE_NAME]


def _entries_of(file: Path) -> int:
    try:
        return sum(1 for _ in _entries(read_json(file)))
    except InputError:
        return 0


def _entries(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, dict):
        below = [child for child in node.values() if isinstance(child, dict)]
        if node and not below:
            yield node
        for child in below:
            yield from _entries(child)
