"""Writes finished studies into the files a server loads, and proves with the server's own lookup that it finds them.

Everything is prepared and proven in memory first: on an error nothing has been written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from autotune.contract import Call
from autotune.errors import InputError, one_of
from autotune.export import filling, pinning, thinning
from autotune.export.family import families
from autotune.export.file import ConfigFile, ExportItem, OnExist, SkippedAlias
from autotune.export.gathering import Gathering, gather
from autotune.export.linting import check_standing
from autotune.export.proving import Proof, lookup_in_folder, prove
from autotune.export.thinning import Grid
from autotune.servers import places, provenance
from autotune.servers.files import locked, table_text, write_all
from autotune.servers.provenance import Record


@dataclass(frozen=True)
class ExportReport:
    """What an export did.

    Attributes:
        files: The config files written, and the side-car.
        records: Every entry written: results, aliases, fills and pins.
        skipped_aliases: Aliases not written.
        warnings: What a user should know before serving with the folder; one line each.
        proofs: One for each entry written, and for each that was dropped.
        grids: By file, what became of the token counts; only of files where some might have been dropped.
    """

    files: tuple[Path, ...]
    records: tuple[Record, ...]
    skipped_aliases: tuple[SkippedAlias, ...]
    warnings: tuple[str, ...]
    proofs: tuple[Proof, ...]
    grids: Mapping[str, Sequence[Grid]] = field(default_factory=dict)


def export(
    items: Iterable[ExportItem], directory: Path, on_exist: OnExist = "merge", required: Iterable[Call] = ()
) -> ExportReport:
    """Writes the results into the folder, each under its own key and its aliases.

    Those of built-in kernels go into a folder of their own inside it, in the same layout (`autotune.servers.places`).

    Args:
        items: Results of finished studies, of any mix of servers, ops and GPUs.
        directory: The server's config folder; created if need be.
        on_exist: ``merge`` keeps the other entries of an existing file, ``overwrite`` drops them, ``new`` leaves the
            file alone and writes ``<name>_tuned_<n>.json``, which no server reads.
        required: Lookups of the same servers to answer, too: by the server's default, where there is
            nothing better. They are taken for all that these servers look up.

    Where items bring timings, token counts that need no entry are dropped (`export.thinning`): each shape at them is
    known to lose less than 2% with what the server takes instead, and nothing to the default. Where the default changes
    with the token count, entries at both sides keep it to its side (`export.pinning`).

    Raises:
        InputError: If there is nothing to export, two results claim one key, or the folder or a file in it cannot be
            used as it is; nothing has been written.
        AutotuneError: If another export is at work in the folder, or the server would not find what was written.
    """
    if on_exist not in get_args(OnExist):
        raise InputError(f"on_exist: got {on_exist!r}, allowed: {one_of(get_args(OnExist))}")
    exports = _by_kernel(list(items), directory, on_exist, list(required))
    with ExitStack() as locks:
        for each in exports:
            each.check_results()
        for each in exports:
            locks.enter_context(locked(each.directory))
            each.prepare()
        places.misplaced(directory)  # What the report asks of the folder must not fail once files are written.
        for each in exports:
            each.write()
        return _joined(exports, directory)


def _by_kernel(items: list[ExportItem], directory: Path, on_exist: OnExist, required: list[Call]) -> list[Export]:
    """Returns an export for each kind of kernel that has results: the servers' own first."""
    kinds = sorted({item.is_builtin for item in items}) or [False]
    return [
        Export(
            gather((item for item in items if item.is_builtin == is_builtin), required, is_builtin),
            places.folder_for(directory, is_builtin),
            on_exist,
            is_builtin,
        )
        for is_builtin in kinds
    ]


def _joined(exports: Sequence[Export], directory: Path) -> ExportReport:
    """Returns one report of all that was written into an output folder, and warns of what stands there already."""
    reports = [each.report() for each in exports]
    misplaced = places.misplaced(directory).items()
    standing = [f"{directory / name}: {places.misplaced_message(count)}" for name, count in misplaced]
    return ExportReport(
        files=tuple(file for report in reports for file in report.files),
        records=tuple(record for report in reports for record in report.records),
        skipped_aliases=tuple(skipped for report in reports for skipped in report.skipped_aliases),
        warnings=(*dict.fromkeys(line for report in reports for line in report.warnings), *standing),
        proofs=tuple(proof for report in reports for proof in report.proofs),
        grids={
            (each.directory / name).relative_to(directory).as_posix(): grids
            for each in exports
            for name, grids in each.grids.items()
        },
    )


class Export:
    """One export of these files into a folder: `check_results`, `prepare`, `write` and `report`, in this order."""

    def __init__(self, files: list[ConfigFile], directory: Path, on_exist: OnExist, is_builtin: bool) -> None:
        self.files = files
        self.is_builtin = is_builtin
        self.families = families(files)
        self.directory = directory
        self.on_exist = on_exist
        self.side_car: list[Record] = []
        self.grids: dict[str, list[Grid]] = {}
        self.texts: dict[Path, str] = {}
        self.written: tuple[Path, ...] = ()
        self.proofs: list[Proof] = []

    def check_results(self) -> None:
        """Refuses results that contradict each other before the folder is touched."""
        for family in self.families:
            family.check_results()

    def prepare(self) -> None:
        """Prepares everything in memory, in the order of the steps, and proves it there."""
        self.side_car = provenance.read(self.directory)
        self.name_files()
        self.read()
        self.put_results()
        self.put_aliases()
        self.fill()
        self.pin()
        self.grids = self.thin()
        self.texts = self.prove_in_memory()

    def name_files(self) -> None:
        """Chooses the names to write under."""
        for family in self.families:
            family.name_files(self.directory, self.on_exist)

    def read(self) -> None:
        """Reads what stands in the files, and who wrote it."""
        known = places.usable(self.side_car, self.is_builtin)
        for file in self.files:
            file.read(self.directory, self.on_exist, known)
        check_standing(self.files, self.directory)

    def put_results(self) -> None:
        """Writes each result under its own key."""
        for file in self.files:
            filling.put_results(file)

    def put_aliases(self) -> None:
        """Writes results under the further keys that answer the same lookups, unless something better stands there."""
        for file in self.files:
            filling.put_aliases(file)

    def fill(self) -> None:
        """Completes the files: those of a family agree, and no lookup finds what is meant for another shape."""
        for family in self.families:
            family.fill()
        for file in self.files:
            filling.fill(file)

    def pin(self) -> None:
        """Keeps each default to the token counts that it is the default of; an m that a pin adds is filled, too."""
        for file in self.files:
            pinning.pin(file)
            filling.fill(file)

    def thin(self) -> dict[str, list[Grid]]:
        """Drops the token counts that need no entry; returns what became of them, by file."""
        grids = {file.name: thinning.thin(file) for file in self.files}
        return {name: found for name, found in grids.items() if found}

    def prove_in_memory(self) -> dict[Path, str]:
        """Returns the files' texts, in which the server's lookup finds what it should."""
        texts = {}
        for file in self.files:
            text = texts[self.directory / file.name] = table_text(file.after.table)
            prove(file, filling.lookup_in(file, text))
        return texts

    def write(self) -> None:
        """Writes the side-car, then the files, and looks up everything once more as the server finds it on the disk.

        A crash between two of them leaves a side-car that knows both the old entries and the new ones.
        """
        path = self.directory / provenance.FILE_NAME
        write_all({path: provenance.text(self._records()), **self.texts})
        self.written = (*self.texts, path)
        self.proofs = [proof for file in self.files for proof in prove(file, lookup_in_folder(file, self.directory))]

    def report(self) -> ExportReport:
        """Sums up what was done."""
        return ExportReport(
            files=self.written,
            records=tuple(record for file in self.files for record in file.after.written.values()),
            skipped_aliases=tuple(skipped for file in self.files for skipped in file.after.skipped),
            warnings=tuple(self._warnings()),
            proofs=tuple(self.proofs),
            grids=self.grids,
        )

    def _records(self) -> list[Record]:
        """Returns the records of other files, those of these files that still hold, and the new ones."""
        names = {file.name for file in self.files}
        records = [record for record in self.side_car if record.file not in names]
        for file in self.files:
            records += (file.records | file.after.dropped).values()
        return records

    def _warnings(self) -> list[str]:
        warnings = [
            f"{file.name}: no server reads this name; move it to {file.identity.name} to use it"
            for file in self.files
            if file.name != file.identity.name
        ]
        if self.is_builtin:
            return warnings  # What stops a server, its plug-in survives: it runs a default of its own there.
        for server in {file.identity.server.name: file.identity.server for file in self.files}.values():
            tables = {file.name: file.after.table for file in self.files if file.identity.server.name == server.name}
            looked_up = {file.name: file.wanted.required for file in self.files}
            warnings += server.warnings(self.directory, tables, looked_up)
        return warnings


def check_merge(wanted: Iterable[tuple[Call, str, int]], directory: Path, is_builtin: bool = False) -> None:
    """Finds out ahead whether results of these calls, on GPUs of these names and of so many shards, can be merged.

    Args:
        directory: Where they go (`places.folder_for`).
        is_builtin: They are results of the built-in kernels.

    Raises:
        InputError: If a file is malformed or holds values that no kernel compiles with, or files that are only correct
            together contradict each other elsewhere.
    """
    side_car = places.usable(provenance.read(directory), is_builtin)
    gathering = Gathering(is_builtin)
    expected = [(gathering.file(call, gpu_name), call, shards) for call, gpu_name, shards in wanted]
    for file in gathering.files.values():
        file.read(directory, "merge", side_car)
    check_standing(list(gathering.files.values()), directory)
    for file, call, shards in expected:
        file.expect(file.identity.server.key_path(call), shards)
    for family in families(gathering.files.values()):
        family.lacking()
