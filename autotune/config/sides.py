"""Tells of the two sides of a comparison of config files whose kernels their entries are of, and who reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autotune.config.kernels import kernels_of
from autotune.errors import InputError
from autotune.servers import KeyPath, places, provenance, stand_back
from autotune.servers.provenance import Record
from autotune.servers.timed_as import TimedAs, told

_DEEPEST = 3
"""How many folders a server's own layout puts between its config folder and a file, at most."""


@dataclass(frozen=True)
class ComparedSide:
    """A file, or a folder of files.

    Attributes:
        path: As the user names it.
        other: The other side; where that is a folder inside this one, its files are not this one's.
    """

    path: Path
    other: Path

    @classmethod
    def pair(cls, a: Path, b: Path) -> tuple[ComparedSide, ComparedSide]:
        return cls(a, b), cls(b, a)

    @property
    def files(self) -> list[Path]:
        """Lists the files that may hold entries."""
        found = sorted(self.path.rglob("*.json")) if self.path.is_dir() else [self.path]
        other = self.other.resolve()
        inside = self.path.is_dir() and self.path.resolve() in other.parents
        mine = [path for path in found if not (inside and path.resolve().is_relative_to(other))]
        return [path for path in mine if path.name not in provenance.SIDE_CARS]

    def file(self, name: str) -> Path:
        """Returns the file of a name, as differences have it."""
        return self.path / name if self.path.is_dir() else self.path

    def timed(self, name: str) -> list[TimedAs]:
        """Returns what a file's entries were timed on; nothing where no side-car tells."""
        return self._kernels.get(self._within(name).as_posix(), [])

    def by_plug_in(self, name: str) -> bool:
        """Tells whether a server's plug-in reads a file, and no server: by its folder, or what that stands in."""
        if self._within(name).parts[0] == places.BUILTIN_FOLDER or self._may_stand_back:
            return True
        above = self._folder.resolve().parent
        return self._is_named_for_it and above in (self.other.resolve(), *self.other.resolve().parents)

    def meaning(self, name: str, entry: Mapping[str, Any] | None) -> str:
        """Says what an entry of a file stands for where that is no config; empty where it is one."""
        if entry is None:
            return "no entry"
        is_left = stand_back.is_one(entry) and (self._is_named_for_it or self.by_plug_in(name))
        return stand_back.MEANING if is_left else ""

    def record(self, path: Path, key: KeyPath) -> Record | None:
        """Returns what the side-car says of an entry of a file; None where it says nothing."""
        return self._records.get((path.absolute(), key))

    @property
    def _is_named_for_it(self) -> bool:
        return self._folder.absolute().name == places.BUILTIN_FOLDER

    def _within(self, name: str) -> Path:
        """Returns where a file stands in its config folder."""
        return self.file(name).relative_to(self._folder)

    @cached_property
    def _folder(self) -> Path:
        """The config folder, which has the side-car."""
        if self.path.is_dir():
            return self.path
        above = list(self.path.parents)[:_DEEPEST]
        return next((folder for folder in above if (folder / provenance.FILE_NAME).exists()), self.path.parent)

    @cached_property
    def _may_stand_back(self) -> bool:
        return places.may_stand_back(self._folder)

    @cached_property
    def _kernels(self) -> dict[str, list[TimedAs]]:
        return kernels_of(self._folder)

    @cached_property
    def _records(self) -> dict[tuple[Path, KeyPath], Record]:
        found: dict[tuple[Path, KeyPath], Record] = {}
        for folder in map(Path.absolute, places.folders(self._folder)):
            with suppress(InputError):  # as of `kernels_of`
                found |= provenance.by_place(folder)
        return found


def of_two_kernels(name: str, a: ComparedSide, b: ComparedSide) -> bool:
    """Tells whether the files of a name are known to be of different kernels."""
    sources = [{timed.source for timed in side.timed(name)} for side in (a, b)]
    return a.by_plug_in(name) != b.by_plug_in(name) or (all(sources) and sources[0].isdisjoint(sources[1]))


def what_to_mind(names: Iterable[str], a: ComparedSide, b: ComparedSide) -> Iterator[str]:
    """Says which files' sides were timed on different kernels; one line for all that are alike."""
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        if line := _line(name, a, b):
            alike.setdefault(line, []).append(name)
    for line, files in alike.items():
        yield f"{', '.join(files)}: {line}"


def _line(name: str, a: ComparedSide, b: ComparedSide) -> str:
    if of_two_kernels(name, a, b):
        return (
            f"of two kernels, {a.path} of the {_whose(name, a)} and {b.path} of the {_whose(name, b)}: entries differ "
            "as the kernels do, and none is for both (tune --source both times the two against each other)"
        )
    timed = [told(side.timed(name)) for side in (a, b)]
    return (
        f"{a.path} was timed on the {timed[0]}, {b.path} on the {timed[1]}"
        if all(timed) and len(set(timed)) > 1
        else ""
    )


def _whose(name: str, side: ComparedSide) -> str:
    if timed := side.timed(name):
        return told(timed)
    return "plug-in's kernel" if side.by_plug_in(name) else "server's own kernel"
