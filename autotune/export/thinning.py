"""Which token counts need an entry: a server takes the nearest m of a file, so one that a neighbour serves can go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.servers import KeyPath, Table
from autotune.servers.lookup import nearest

TOLERANCE = 0.02
"""An m without an entry of its own loses less than this share of its time."""


def _itself(config: Hashable) -> Hashable:
    return config


@dataclass(frozen=True)
class Timings:
    """What was timed of one shape at one m.

    Attributes:
        tables: Times in microseconds of configs that ran correctly, by `key`; within a table they may be compared.
            What two tables know is taken from the first.
        default: What the server launches without a file; None if that does not run here.
        key: Equal for configs that are the same launch at this m.
    """

    tables: tuple[Mapping[Hashable, float], ...]
    default: Any = None
    key: Callable[[Any], Hashable] = _itself

    def loss(self, config: Any, own: Any) -> float | None:
        """How much slower than this m's own a config is, as a share; None if that is not known.

        None, too, unless the config is known to be no slower than the default: nothing may get slower than that.
        """
        if self.default is not None:
            behind = self._slower(config, self.default)
            if behind is None or behind > 0:
                return None
        return self._slower(config, own)

    def _slower(self, config: Any, than: Any) -> float | None:
        a, b = self.key(config), self.key(than)
        return next((times[a] / times[b] - 1 for times in self.tables if a in times and b in times), None)


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
        """How much slower the config of `key` is at m than m's own, as a share; None as in `Timings.loss`."""
        if self.winner[key] == self.winner[m]:
            return 0.0
        if m not in self.timings or key not in self.timings:
            return None
        return self.timings[m].loss(self.winner[key], self.winner[m])


def thin(
    shapes: Sequence[MeasuredShape], tolerance: float = TOLERANCE, removable: Collection[int] | None = None
) -> tuple[int, ...]:
    """The m worth an entry: without any other, each shape loses less than `tolerance` there, as measured.

    The shapes are those of one file and one number of slices, since each m there holds all of them. An m is kept if
    the config of the key that the server would take in its stead was never timed at it. A token count between two of
    the m is served by what serves one of these two, as before.

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


def _served_by(shape: MeasuredShape, kept: Sequence[int], tolerance: float) -> bool:
    """Whether each m of a shape without an entry of its own is known to do with the one that it gets."""
    for m in set(shape.winner) - set(kept):
        key = nearest(kept, m)
        loss = shape.loss(m, key) if key in shape.winner else None
        if loss is None or loss >= tolerance:
            return False
    return True


@dataclass(frozen=True)
class Grid:
    """The m under one place of a file, thinned.

    Attributes:
        path: The keys above them.
        kept: The m that stay.
        served_by: For each m that goes, the one whose entries the server takes.
        losses: For each entry that goes, how much slower its shape gets at its m, as a share; below 0 if faster.
    """

    path: KeyPath
    kept: tuple[int, ...]
    served_by: Mapping[int, int]
    losses: Mapping[KeyPath, float]

    def largest_loss(self, m: int | None = None) -> float:
        """The largest at an m that goes, or at all of them; 0 if nothing gets slower."""
        losses = [loss for key, loss in self.losses.items() if m in (None, int(key[len(self.path)]))]
        return max([0.0, *losses])


def thin_table(
    table: Table, depth: int, timings: Mapping[KeyPath, Timings], removable: Collection[KeyPath]
) -> list[Grid]:
    """Find out which m of a file need no entry; every m is complete, that is holds each shape.

    Args:
        depth: How many keys stand above the m.
        timings: What was timed, by the entry that it led to.
        removable: The entries that may go; an m goes with all its entries or stays.
    """
    places = by_place(table, depth)
    return [_thinned(path, list(shapes.values()), table, timings, removable) for path, shapes in places.items()]


def by_place(entries: Iterable[KeyPath], depth: int) -> dict[KeyPath, dict[KeyPath, dict[int, KeyPath]]]:
    """The entries of a file, by the keys above the m, by those below it, and by m."""
    places: dict[KeyPath, dict[KeyPath, dict[int, KeyPath]]] = {}
    for key in entries:
        places.setdefault(key[:depth], {}).setdefault(key[depth + 1 :], {})[int(key[depth])] = key
    return places


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
    kept = thin(measured, removable=free)
    served_by = {m: nearest(kept, m) for m in sorted(grid - set(kept))}
    losses = {
        keys[m]: shape.loss(m, taken) or 0.0
        for shape, keys in zip(measured, shapes, strict=True)
        for m, taken in served_by.items()
    }
    return Grid(path, kept, served_by, losses)
