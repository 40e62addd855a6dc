"""Drops token counts (m) that need no entry: a server takes the nearest m of a file, which may serve as well."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.export.file import ConfigFile
from autotune.export.pinning import by_place, missing_pins
from autotune.export.timings import Timings
from autotune.servers import KeyPath, Table
from autotune.servers.lookup import nearest

TOLERANCE = 0.02
"""An m without an entry of its own loses less than this share of its time."""


@dataclass(frozen=True)
class MeasuredShape:
    """One shape in a file at several m.

    Attributes:
        winner: For each m, the config to be written.
        timings: For each m that was measured, what was timed there.
    """

    winner: Mapping[int, Any]
    timings: Mapping[int, Timings]

    def loss(self, m: int, key: int) -> float | None:
        """Returns by which share the config of `key` is slower at m than m's own; None as in `Timings.loss`."""
        if self.winner[key] == self.winner[m]:
            return 0.0
        if m not in self.timings or key not in self.timings:
            return None
        return self.timings[m].loss(self.winner[key], self.winner[m])


@dataclass(frozen=True)
class Grid:
    """What became of the m under one place of a file.

    Attributes:
        path: The keys above them.
        kept: The m that stay.
        served_by: For each m that goes, the one whose entries the server takes.
        losses: For each entry that goes, by which share its shape gets slower at its m; below 0 if faster.
    """

    path: KeyPath
    kept: tuple[int, ...]
    served_by: Mapping[int, int]
    losses: Mapping[KeyPath, float]

    def largest_loss(self, m: int | None = None) -> float:
        """Returns the largest loss at an m that goes, or at all of them; 0 if nothing gets slower."""
        losses = [loss for key, loss in self.losses.items() if m in (None, int(key[len(self.path)]))]
        return max([0.0, *losses])


def thin(file: ConfigFile) -> list[Grid]:
    """Drops the entries that a complete and pinned file does not need; returns what became of its token counts.

    Only what this export writes and what earlier ones filled in may go, and no pin.
    """
    if (depth := file.identity.depth_of_m) is None or not file.after.timings:
        return []
    fills = {key for key, record in file.before.records.items() if record.kind == "default-fill"}
    removable = {key for key, record in file.after.written.items() if record.kind != "pin"} | fills
    grids = thin_table(file.after.table, depth, file.after.timings, removable)
    while needed := _between_defaults(file, depth, grids):
        removable -= needed
        grids = thin_table(file.after.table, depth, file.after.timings, removable)
    for grid in grids:
        for key, loss in grid.losses.items():
            m = int(key[depth])
            taken = (*key[:depth], str(grid.served_by[m]), *key[depth + 1 :])
            file.drop(key, taken, loss, grid.largest_loss(m))
    return grids


def thin_table(
    table: Table, depth: int, timings: Mapping[KeyPath, Timings], removable: Collection[KeyPath]
) -> list[Grid]:
    """Finds out which m of a table need no entry; every m is complete, that is holds each shape.

    Args:
        depth: How many keys stand above the m.
        timings: What was timed, by the key of the entry that came of it.
        removable: The entries that may go; an m goes with all its entries or stays.
    """
    places = by_place(table, depth)
    return [_thinned(path, list(shapes.values()), table, timings, removable) for path, shapes in places.items()]


def needed_m(
    shapes: Sequence[MeasuredShape], tolerance: float = TOLERANCE, removable: Collection[int] | None = None
) -> tuple[int, ...]:
    """Returns the m worth an entry: at all others each shape loses less than `tolerance`, as measured.

    The shapes are those of one place in a file, since each m there holds all of them. An m is kept if the config that
    the server would take there without it was never timed at it. A token count between two of the m is served by what
    serves one of these two, as before.

    Args:
        removable: The m that may go; all by default.
    """
    values = sorted({m for shape in shapes for m in shape.winner})
    kept = list(values)
    for m in values:
        rest = [other for other in kept if other != m]
        may_go = bool(rest) and (removable is None or m in removable)
        if may_go and all(_served_by(shape, rest, tolerance) for shape in shapes):
            kept = rest
    return tuple(kept)


def _between_defaults(file: ConfigFile, depth: int, grids: Sequence[Grid]) -> set[KeyPath]:
    """Returns the entries about to go without which a lookup would find the default of other token counts."""
    table = file.after.table
    gone = {key for grid in grids for key in grid.losses}
    left = {key: config for key, config in table.items() if key not in gone}
    places, found = by_place(table, depth), set()
    for key in missing_pins(left, depth, file.identity.default_at):
        keys = places[key[:depth]][key[depth + 1 :]]
        found.add(keys[nearest(keys, int(key[depth]))])
    return found & gone


def _served_by(shape: MeasuredShape, kept: Sequence[int], tolerance: float) -> bool:
    """Returns whether each m of a shape without an entry of its own is known to do with the one that it gets."""
    for m in set(shape.winner) - set(kept):
        key = nearest(kept, m)
        loss = shape.loss(m, key) if key in shape.winner else None
        if loss is None or loss >= tolerance:
            return False
    return True


def _thinned(
    path: KeyPath,
    shapes: list[dict[int, KeyPath]],
    table: Table,
    timings: Mapping[KeyPath, Timings],
    removable: Collection[KeyPath],
) -> Grid:
    measured = [
        MeasuredShape(
            {m: table[key] for m, key in keys.items()}, {m: timings[key] for m, key in keys.items() if key in timings}
        )
        for keys in shapes
    ]
    grid = {m for keys in shapes for m in keys}
    free = {m for m in grid if all(m in keys and keys[m] in removable for keys in shapes)}
    kept = needed_m(measured, removable=free)
    served_by = {m: nearest(kept, m) for m in sorted(grid - set(kept))}
    losses = {
        keys[m]: shape.loss(m, taken) or 0.0
        for shape, keys in zip(measured, shapes, strict=True)
        for m, taken in served_by.items()
    }
    return Grid(path, kept, served_by, losses)
