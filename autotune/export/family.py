"""Keeps files together that must agree, because a server reads all of them for one launch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from autotune.export.file import ConfigFile, OnExist
from autotune.servers import FileFamily, KeyPath, Shards, Table


@dataclass
class ExportFamily:
    """The files of an export that belong together; a file that depends on no other is alone in its family.

    Attributes:
        rules: What the server says of such files; None for a lone one.
    """

    rules: FileFamily | None
    files: list[ConfigFile] = field(default_factory=list)

    def check_results(self) -> None:
        """Makes sure that the results alone agree.

        Raises:
            InputError: If some are missing or contradict each other.
        """
        if self.rules is None:
            return
        results = [(file, key, item) for file in self.files for key, item in file.wanted.results.items()]
        entries: dict[str, Table] = {file.op: {} for file in self.files}
        for file, key, item in results:
            entries[file.op][key] = item.entry(file.identity.server)
        self.rules.check(entries, {(file.op, key): (item.shards,) for file, key, item in results})

    def name_files(self, directory: Path, on_exist: OnExist) -> None:
        """Chooses the names to write under: a server must not read some old files together with some new ones."""
        paths = [directory / file.identity.name for file in self.files]
        if on_exist != "new" or not any(path.exists() for path in paths):
            return
        index = next(i for i in itertools.count(1) if not any(_numbered(path, i).exists() for path in paths))
        for file, path in zip(self.files, paths, strict=True):
            file.name = _numbered(path, index).relative_to(directory).as_posix()

    def fill(self) -> None:
        """Writes what the files lack to agree.

        Raises:
            InputError: If what stood there contradicts itself or the results.
        """
        lacking = self.lacking()
        for file in self.files:
            for key, config in lacking.get(file.op, {}).items():
                file.put(key, "default-fill", config)

    def lacking(self) -> dict[str, Table]:
        """Returns the entries that the files lack to agree, by op.

        Raises:
            InputError: If what they hold contradicts itself.
        """
        if self.rules is None:
            return {}
        tables: dict[str, Table] = {op: {} for op in self.rules.ops}
        tables |= {file.op: file.after.table for file in self.files}
        return self.rules.joint_fills(tables, self._shards(), self._earlier_fills())

    def _shards(self) -> Shards:
        """Returns over how many GPUs servers split what the results are for, this export's and earlier ones'."""
        return {
            (file.op, key): record.shards
            for file in self.files
            for key, record in file.records.items()
            if record.kind == "own" and max(record.shards) > 1
        }

    def _earlier_fills(self) -> set[tuple[str, KeyPath]]:
        """Returns what earlier exports filled in, and this one has no result for."""
        return {
            (file.op, key)
            for file in self.files
            for key, record in file.before.records.items()
            if record.kind == "default-fill" and key not in file.after.written
        }


def families(files: Iterable[ConfigFile]) -> list[ExportFamily]:
    """Returns the files by the families that they belong to, in their order."""
    found: dict[tuple[str, ...], ExportFamily] = {}
    for file in files:
        identity = file.identity
        rules = identity.server.family(file.op)
        members = rules.ops if rules else (identity.name,)
        family = found.setdefault((identity.server.name, identity.gpu_name, *members), ExportFamily(rules))
        family.files.append(file)
    return list(found.values())


def _numbered(path: Path, index: int) -> Path:
    return path.with_name(f"{path.stem}_tuned_{index}.json")
