"""One file of an export in the making: results, aliases, what else the server must find, and what it can do without."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from autotune.contract import Call, Config, Value
from autotune.export.default_changes import Pin, pins
from autotune.export.thinning import Grid, Timings, by_place, thin_table
from autotune.servers import KeyPath, Lookup, Server, Shards, Table
from autotune.servers.files import read_table, table_text
from autotune.servers.lookup import nearest
from autotune.servers.provenance import Kind, Record

OnExist = Literal["merge", "overwrite", "new"]


@dataclass(frozen=True)
class ExportItem:
    """The result of one study.

    Attributes:
        study: Its name, for the side-car and for messages.
        call: What the server looks up for the study's problem.
        config: The winner; of no account for an incumbent.
        is_incumbent: Nothing beat the server's default: that is written, exactly as the server has it.
        gpu_name: As the driver spells it.
        provenance: Written to the side-car as it is: GPU, versions, times, date, backend.
        timings: What the study timed, by the entries that its configs come to; None to keep its entry in any case.
        shards: Over how many GPUs the server splits the op, where its key has a shard (`autotune.servers.Shards`).
    """

    study: str
    call: Call
    config: Config
    is_incumbent: bool
    gpu_name: str
    provenance: Mapping[str, Any]
    timings: Timings | None = None
    shards: int = 1


@dataclass(frozen=True)
class SkippedAlias:
    """A further key that a result was not written to, because something better stands there."""

    study: str
    file: str
    key: KeyPath
    reason: str


@dataclass
class Draft:
    """One file to be: the results that go into it, then the whole table.

    Attributes:
        unpinned: The pins of earlier exports that stand in the file: what they hold is chosen anew.
    """

    server: Server
    gpu_name: str
    server_file: str
    call: Call
    items: dict[KeyPath, ExportItem] = field(default_factory=dict)
    required: set[KeyPath] = field(default_factory=set)
    file: str = ""
    table: Table = field(default_factory=dict)
    origins: dict[KeyPath, Record] = field(default_factory=dict)
    unpinned: Table = field(default_factory=dict)
    written: dict[KeyPath, Record] = field(default_factory=dict)
    timings: dict[KeyPath, Timings] = field(default_factory=dict)
    dropped: dict[KeyPath, Record] = field(default_factory=dict)
    grids: list[Grid] = field(default_factory=list)
    skipped: list[SkippedAlias] = field(default_factory=list)

    def call_at(self, key: KeyPath) -> Call:
        """The lookup that an entry of this file answers."""
        levels = self.server.levels(self.call)
        return replace(self.call, dims={**self.call.dims, **dict(zip(levels, map(int, key), strict=True))})

    def default_at(self, key: KeyPath) -> dict[str, Value]:
        """What the server launches there without a file."""
        return self.server.default_config(self.call_at(key))

    def put(self, key: KeyPath, kind: Kind, config: dict[str, Value], item: ExportItem | None = None) -> None:
        study, about = (item.study, dict(item.provenance)) if item else (None, {})
        earlier = self.origins[key].shards if key in self.origins else ()
        if item and (shards := sorted({*earlier, item.shards})) != [1]:
            about["shards"] = shards
        before = self.table.get(key, self.unpinned.get(key))
        self.written[key] = Record(self.file, key, kind, study, config, None if before == config else before, about)
        self.table[key] = config
        if item and item.timings:
            self.timings[key] = item.timings

    def pin(self, key: KeyPath, pin: Pin) -> None:
        """Write an entry beside a change of the default; a result that an earlier export did without is better."""
        if key in self.dropped:
            self.put_back(self.dropped[key])
            return
        self.put(key, "pin", dict(pin.config))
        if pin.taken is not None:
            like = self.written.get(pin.taken) or self.origins.get(pin.taken)
            study, about = like.study if like else None, {"taken": list(pin.taken)}
            self.written[key] = replace(self.written[key], study=study, provenance=about)

    def drop(self, key: KeyPath, taken: KeyPath, loss: float, largest_loss: float) -> None:
        """Do without an entry of ours, since the server takes another of the same shape."""
        record = self.written.pop(key, None) or self.origins[key]
        self.origins.pop(key, None)
        costs = {"loss": round(loss, 4), "largest_loss": round(largest_loss, 4)}
        why = {"kind": record.kind, "taken": list(taken), "config": self.table[taken], **costs}
        about = {**record.provenance, "dropped": why}
        self.dropped[key] = replace(record, kind="dropped", config=self.table.pop(key), provenance=about)

    def put_back(self, record: Record) -> None:
        """Write an entry that an earlier export did without."""
        del self.dropped[record.key]
        self.written[record.key] = replace(record.undropped(), replaced=None)
        self.table[record.key] = record.config


def entry_of(server: Server, item: ExportItem) -> dict[str, Value]:
    """What is written for a result."""
    return server.default_config(item.call) if item.is_incumbent else server.entry(item.config, item.call)


def read_in(draft: Draft, directory: Path, on_exist: OnExist, records: list[Record]) -> None:
    """Read what stands in the file and who wrote that."""
    path = directory / draft.file
    if path.exists() and on_exist == "merge":
        draft.table = read_table(path, draft.server.levels(draft.call))
    ours = [record for record in records if record.file == draft.file]
    draft.origins = {record.key: record.undropped() for record in ours if record.matches(draft.table)}
    earlier = [key for key, record in draft.origins.items() if record.kind == "pin"]
    draft.unpinned = {key: draft.table.pop(key) for key in earlier if draft.origins.pop(key)}
    if on_exist == "merge":
        draft.dropped = {r.key: r for r in ours if r.kind == "dropped" and r.key not in draft.table}


def put_results(draft: Draft) -> None:
    """Each under its own key."""
    for key, item in draft.items.items():
        draft.put(key, "own", entry_of(draft.server, item), item)


def put_aliases(draft: Draft) -> None:
    """Results under the further keys that answer the same lookups, unless something better stands there."""
    for item in draft.items.values():
        for key in draft.server.alias_paths(item.call):
            if reason := _stands(draft, key):
                draft.skipped.append(SkippedAlias(item.study, draft.file, key, reason))
            else:
                draft.put(key, "alias", entry_of(draft.server, item), item)


def _stands(draft: Draft, key: KeyPath) -> str | None:
    """Why an alias must not be written here, or None."""
    if key in draft.items:
        return f"study {draft.items[key].study!r} has the result of this very key"
    origin = draft.origins.get(key) or draft.dropped.get(key)
    if origin is None:
        return "the entry there is not from this tool, or was edited" if key in draft.table else None
    return f"study {origin.study!r} wrote the result of this very key" if origin.undropped().kind == "own" else None


def put_fills(family: list[Draft]) -> None:
    """Complete the files of a family: no lookup of theirs may find what is meant for another shape or token count."""
    if together := family[0].server.family(family[0].call.op):
        tables = {draft.call.op: draft.table for draft in family}
        fills = together.joint_fills(tables, shards_of(family), fills_of(family))
        for draft in family:
            for key, config in fills[draft.call.op].items():
                draft.put(key, "default-fill", config)
    for draft in family:
        _complete(draft)
        _pin(draft)
        _complete(draft)


def _complete(draft: Draft) -> None:
    _fill(draft)
    while _put_back(draft):
        _fill(draft)


def _fill(draft: Draft) -> None:
    for key in sorted(draft.server.needed_paths({*draft.table, *draft.required}) - set(draft.table)):
        if key in draft.dropped:
            draft.put_back(draft.dropped[key])
        else:
            draft.put(key, "default-fill", draft.default_at(key))


def _put_back(draft: Draft) -> bool:
    """Write what an earlier export did without, if the server no longer finds what was to serve in its stead.

    Where a new choice is to be made, all of it; returns whether there was any.
    """
    draft.dropped = {key: record for key, record in draft.dropped.items() if key not in draft.table}
    missed = list(draft.dropped.values())
    if missed and not draft.timings:
        resolve = resolver(draft, json.loads(table_text(draft.table)))
        missed = [record for record in missed if resolve(draft.call_at(record.key)).config != record.found]
    for record in missed:
        draft.put_back(record)
    return bool(missed)


def _pin(draft: Draft) -> None:
    """Keep each default of a file to the token counts that it is the default of."""
    if (depth := _depth_of_m(draft)) is not None:
        for key, pin in pins(draft.table, depth, draft.default_at, earlier=draft.unpinned).items():
            draft.pin(key, pin)


def _depth_of_m(draft: Draft) -> int | None:
    """How many keys stand above the token counts, if a server takes the nearest of them."""
    level = draft.server.thinnable_level(draft.call)
    return None if level is None else draft.server.levels(draft.call).index(level)


def thin(draft: Draft) -> None:
    """Drop the token counts that need no entry; of other origin than this export none is dropped but our fills."""
    if (depth := _depth_of_m(draft)) is None or not draft.timings:
        return
    fills = {key for key, record in draft.origins.items() if record.kind == "default-fill"}
    removable = {key for key, record in draft.written.items() if record.kind != "pin"} | fills
    draft.grids = thin_table(draft.table, depth, draft.timings, removable)
    while needed := _between_defaults(draft, depth):
        removable -= needed
        draft.grids = thin_table(draft.table, depth, draft.timings, removable)
    for grid in draft.grids:
        for key, loss in grid.losses.items():
            m = int(key[depth])
            taken = (*key[:depth], str(grid.served_by[m]), *key[depth + 1 :])
            draft.drop(key, taken, loss, grid.largest_loss(m))


def _between_defaults(draft: Draft, depth: int) -> set[KeyPath]:
    """Entries about to go without which a lookup would find the default of other token counts."""
    gone = {key for grid in draft.grids for key in grid.losses}
    left = {key: config for key, config in draft.table.items() if key not in gone}
    places, found = by_place(draft.table, depth), set()
    for key in pins(left, depth, draft.default_at):
        keys = places[key[:depth]][key[depth + 1 :]]
        found.add(keys[nearest(keys, int(key[depth]))])
    return found & gone


def shards_of(family: Iterable[Draft]) -> Shards:
    """Those of all results in the files, this export's and earlier ones'."""
    return {
        (draft.call.op, key): record.shards
        for draft in family
        for key, record in (draft.origins | draft.written).items()
        if record.kind == "own" and max(record.shards) > 1
    }


def fills_of(family: Iterable[Draft]) -> set[tuple[str, KeyPath]]:
    """What earlier exports filled in."""
    return {
        (draft.call.op, key)
        for draft in family
        for key, record in draft.origins.items()
        if record.kind == "default-fill" and key not in draft.written
    }


def resolver(draft: Draft, table: Any) -> Callable[[Call], Lookup]:
    """The server's lookup in the file's contents."""
    return lambda call: draft.server.resolve(table, call)
