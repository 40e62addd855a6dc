"""Finds for which kernels an output folder has files in an end-to-end run: the server's own, the built-in, both."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune.environment import gpu_of_driver
from autotune.errors import InputError, one_of
from autotune.servers import Server, places, provenance


@dataclass(frozen=True)
class ServeFolder:
    """The parts of an output folder that hold files.

    Attributes:
        served: What the server's own variable is set to; None where no file is for the server's own kernels.
        builtin: What the plug-in reads; None where no file is for the built-in kernels.
    """

    served: Path | None = None
    builtin: Path | None = None

    def served_contents(self) -> Mapping[str, str]:
        """Returns the hash of every file for the server's own kernels, by its path."""
        inside = self.served / places.BUILTIN_FOLDER if self.served else None
        files = self.served.rglob("*.json") if self.served else ()
        return _hashes(file for file in files if inside not in file.parents and file.name not in provenance.SIDE_CARS)

    def builtin_contents(self) -> Mapping[str, str]:
        """Returns the hash of every file for the built-in kernels, by its path."""
        return _hashes(self.builtin.rglob("*.json") if self.builtin else ())


def find(directory: Path | None, server: Server) -> ServeFolder:
    """Finds what an output folder holds for this machine's GPU.

    Raises:
        InputError: If a folder is given that holds no file of the server, or files of another GPU alone.
    """
    if directory is None:
        return ServeFolder()
    directory = directory.resolve()
    if places.is_for_builtin(directory):
        parts = ServeFolder(builtin=directory)
    else:
        parts = ServeFolder(directory, directory / places.BUILTIN_FOLDER)
    by_place = {place: _gpus(place, server) for place in (parts.served, parts.builtin) if place is not None}
    if not any(by_place.values()):
        raise InputError(
            f"--dir: {directory} holds no config files of {server.name}; give the folder that an export wrote"
        )
    if (gpu := gpu_of_driver()) is not None:
        there = sorted({name for names in by_place.values() for name in names})
        by_place = {place: [name for name in names if _words(name) == _words(gpu)] for place, names in by_place.items()}
        if not any(by_place.values()):
            raise InputError(
                f"--dir: {directory} holds files of {one_of(there)}, and this GPU is {gpu}; tune on this machine"
            )
    return ServeFolder(*(place if place and by_place[place] else None for place in (parts.served, parts.builtin)))


def _gpus(place: Path, server: Server) -> list[str]:
    """Lists the GPUs whose files stand at a place."""
    return sorted({reader.gpu for reader in server.checker.readers(place)}) if place.is_dir() else []


def _words(gpu: str) -> list[str]:
    """Splits a GPU's name at what servers spell in ways of their own: blanks, hyphens, underscores."""
    return re.split(r"[\W_]+", gpu)


def _hashes(files: Iterable[Path]) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}
