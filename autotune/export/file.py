"""Describes one config file that an export writes: what goes into it, what stood there before, and what it holds
afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from autotune.contract import Call, Config, Value
from autotune.errors import InputError, one_of
from autotune.export.timings import Timings
from autotune.servers import KeyPath, Server, Table, stand_back
from autotune.servers.files import read_table
from autotune.servers.provenance import FILE_NAME as SIDE_CAR
from autotune.servers.provenance import Kind, Record
from autotune.untrusted.names import check_name, check_relative
from autotune.untrusted.printing import shortened

OnExist = Literal["merge", "overwrite", "new"]


@dataclass(frozen=True)
class ExportItem:
    """The result of one study.

    Attributes:
        study: Its name, for the side-car and for messages.
        call: What the server looks up for the study's problem.
        config: The winner; ignored for an incumbent.
        is_incumbent: Nothing beat the server's default: that is written, exactly as the server has it.
        gpu_name: As the driver spells it.
        provenance: Written to the side-car as it is: GPU, versions, times, date, backend.
        timings: What the study timed, by the entries that its configs become; None to keep its entry in any case.
        shards: Over how many GPUs the server splits the op, where its key has a shard (`autotune.servers.Shards`).
        is_builtin: It was timed on a built-in kernel, not on the server's own, which must not read it.
        stands_back: The server's own kernel was faster: that is written, and the plug-in leaves the call to it.
    """

    study: str
    call: Call
    config: Config
    is_incumbent: bool
    gpu_name: str
    provenance: Mapping[str, Any]
    timings: Timings | None = None
    shards: int = 1
    is_builtin: bool = False
    stands_back: bool = False

    def entry(self, server: Server) -> dict[str, Value]:
        """Returns what is written for the result."""
        if self.stands_back:
            return stand_back.entry(server.default_config(self.call))
        return server.default_config(self.call) if self.is_incumbent else server.entry(self.config, self.call)


@dataclass(frozen=True)
class SkippedAlias:
    """A further key that a result was not written to, because something better stands there."""

    study: str
    file: str
    key: KeyPath
    reason: str


@dataclass(frozen=True)
class FileIdentity:
    """Which file of which server this is.

    Attributes:
        call: One of the lookups that the file answers; the others differ from it in the sizes that are the file's keys.
        name: The name under which the server reads it, relative to the config folder.
        is_builtin: The file is for the built-in kernels.
    """

    server: Server
    gpu_name: str
    call: Call
    name: str
    is_builtin: bool = False

    @classmethod
    def of(cls, call: Call, server: Server, gpu_name: str, is_builtin: bool = False) -> FileIdentity:
        """Returns the identity of the file that a server reads for a call.

        Raises:
            InputError: If a name or a size in it, which a storage of anybody's may give, is not fit for a file's name.
        """
        check_name(gpu_name, f"GPU of a study of {call.op}")
        for name, size in call.dims.items():
            if type(size) is not int:
                raise InputError(f"study of {call.op}: {name}: got {shortened(size)}, allowed: an integer; fix it")
        if call.triton is not None:
            check_name(call.triton, f"Triton's version of a study of {call.op}")
        name = check_relative(server.file_name(gpu_name, call), "name of an export's file")
        return cls(server, gpu_name, call, name, is_builtin)

    @property
    def levels(self) -> tuple[str, ...]:
        return self.server.levels(self.call)

    @property
    def depth_of_m(self) -> int | None:
        """How many keys stand above the token count, if the server takes the nearest one of a file; else None."""
        level = self.server.thinnable_level(self.call)
        return None if level is None else self.levels.index(level)

    def call_at(self, key: KeyPath) -> Call:
        """Returns the lookup that an entry of this file answers."""
        return replace(self.call, dims={**self.call.dims, **dict(zip(self.levels, map(int, key), strict=True))})

    def default_at(self, key: KeyPath) -> dict[str, Value]:
        """Returns what is launched at a key without the folder."""
        call = self.call_at(key)
        return (
            self.server.default_config(call) if self.is_builtin else self.server.no_folder_config(call, self.gpu_name)
        )


@dataclass
class Wanted:
    """What an export is to put into a file.

    Attributes:
        results: Results of studies, each by its own key.
        required: Further keys that the server looks up: its default answers them where there is nothing better.
    """

    results: dict[KeyPath, ExportItem] = field(default_factory=dict)
    required: set[KeyPath] = field(default_factory=set)


@dataclass
class Before:
    """What earlier exports wrote into a file, as far as it still stands there.

    Attributes:
        records: Where the entries come from. Pins are not among them.
        pins: The entries that earlier exports wrote next to a change of the default. They are taken out of the table,
            because each export chooses its own pins (`export.pinning`).
    """

    records: dict[KeyPath, Record] = field(default_factory=dict)
    pins: Table = field(default_factory=dict)


@dataclass
class After:
    """What a file will hold, and why.

    Attributes:
        table: All entries, those of others included.
        written: Records of the entries that this export writes.
        dropped: Records of the entries that the file does without; of earlier exports, too.
        skipped: The aliases that are not written.
        timings: What was timed, by the key of each result and alias that is written.
    """

    table: Table = field(default_factory=dict)
    written: dict[KeyPath, Record] = field(default_factory=dict)
    dropped: dict[KeyPath, Record] = field(default_factory=dict)
    skipped: list[SkippedAlias] = field(default_factory=list)
    timings: dict[KeyPath, Timings] = field(default_factory=dict)


@dataclass
class ConfigFile:
    """A file that is written, with the moves that all steps of an export are made of.

    Attributes:
        name: The name that it is written under: the server's, unless a file of that name is to be left alone.
    """

    identity: FileIdentity
    name: str
    wanted: Wanted = field(default_factory=Wanted)
    before: Before = field(default_factory=Before)
    after: After = field(default_factory=After)

    @property
    def op(self) -> str:
        return self.identity.call.op

    @property
    def records(self) -> dict[KeyPath, Record]:
        """Where each of our entries comes from, earlier exports' and this one's."""
        return self.before.records | self.after.written

    def read(self, directory: Path, on_exist: OnExist, side_car: list[Record]) -> None:
        """Reads what stands in the file, and in the side-car's records who wrote it.

        Raises:
            InputError: If the file is malformed.
        """
        path, merges = directory / self.name, on_exist == "merge"
        table = read_table(path, self.identity.levels) if merges and path.exists() else {}
        ours = [record for record in side_car if record.file == self.name]
        for record in ours:
            if len(record.key) != len(self.identity.levels):
                raise InputError(
                    f"{directory / SIDE_CAR}: {self.name} at {'/'.join(record.key)}: got {len(record.key)} keys, "
                    f"allowed: {one_of(self.identity.levels)}; repair or move it"
                )
        standing = {record.key: record.undropped() for record in ours if record.matches(table)}
        pins = [key for key, record in standing.items() if record.kind == "pin"]
        self.before.pins = {key: table.pop(key) for key in pins}
        self.before.records = {key: record for key, record in standing.items() if key not in self.before.pins}
        self.after.table = table
        if merges:
            gone = [record for record in ours if record.kind == "dropped" and record.key not in table]
            self.after.dropped = {record.key: record for record in gone}

    def put(self, key: KeyPath, kind: Kind, config: dict[str, Value], item: ExportItem | None = None) -> None:
        """Writes an entry; with an item, that of a result."""
        about = dict(item.provenance) if item else {}
        if item and (shards := self._all_shards(key, item.shards)) != [1]:
            about["shards"] = shards
        stood = self.after.table.get(key, self.before.pins.get(key))
        replaced = None if stood == config else stood
        study = item.study if item else None
        self.after.written[key] = Record(self.name, key, kind, study, config, replaced, about)
        self.after.table[key] = config
        if item and item.timings:
            self.after.timings[key] = item.timings

    def expect(self, key: KeyPath, shards: int) -> None:
        """Makes room for a result that is still to be measured: it will replace what stands there."""
        self.after.table.pop(key, None)
        about = {"shards": self._all_shards(key, shards)}
        self.before.records[key] = Record(self.name, key, "own", None, {}, provenance=about)

    def drop(self, key: KeyPath, taken: KeyPath, loss: float, largest_loss: float) -> None:
        """Drops an entry of ours, because the server takes another one of the same shape."""
        record = self.after.written.pop(key, None) or self.before.records[key]
        self.before.records.pop(key, None)
        costs = {"loss": round(loss, 4), "largest_loss": round(largest_loss, 4)}
        why = {"kind": record.kind, "taken": list(taken), "config": self.after.table[taken], **costs}
        config, about = self.after.table.pop(key), {**record.provenance, "dropped": why}
        self.after.dropped[key] = replace(record, kind="dropped", config=config, provenance=about)

    def put_back(self, key: KeyPath) -> None:
        """Writes an entry that an earlier export dropped."""
        record = self.after.dropped.pop(key)
        self.after.written[key] = replace(record.undropped(), replaced=None)
        self.after.table[key] = record.config

    def _all_shards(self, key: KeyPath, shards: int) -> list[int]:
        """Returns over how many GPUs servers split what the entry is for: this result's, and earlier exports'."""
        earlier = self.before.records[key].shards if key in self.before.records else ()
        return sorted({*earlier, shards})
