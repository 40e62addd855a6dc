"""Keeps each default of a server to the token counts (m) that it is the default of.

At an m that has no entry, a server takes the entry of the nearest m. Where that one holds the default of its own m, and
the server's default changes between the two, the server would launch a default that is meant for other token counts:
nobody measured it here, and without a file the server would not launch it (law 4). So two entries are added: at the
last m before the change and at the first m behind it. Such an entry is a *pin*.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from autotune.export.file import ConfigFile
from autotune.servers import KeyPath, Table
from autotune.servers.lookup import nearest

MOST_TOKENS = 1 << 20
"""More than any batch has: the defaults of all m up to it are compared."""

Default = Callable[[KeyPath], Mapping[str, Any]]
"""Returns what the server launches for a key without a file."""


@dataclass(frozen=True)
class Pin:
    """An entry to add next to a change of the default.

    Attributes:
        like: The key whose config it repeats, since a lookup finds that one anyway and it is not wrong; None for an
            entry that holds the default of its own m.
    """

    config: Mapping[str, Any]
    like: KeyPath | None


def pin(file: ConfigFile) -> None:
    """Adds the pins that a complete file lacks."""
    if (depth := file.identity.depth_of_m) is None:
        return
    for key, each in missing_pins(file.after.table, depth, file.identity.default_at, file.before.pins).items():
        if key in file.after.dropped:
            file.put_back(key)  # a result that an earlier export dropped is better than any pin
        else:
            _put(file, key, each)


def missing_pins(table: Table, depth: int, default: Default, earlier: Iterable[KeyPath] = ()) -> dict[KeyPath, Pin]:
    """Returns the pins that a table lacks.

    Every m holds all shapes of its place: where one shape needs a pin, the others get one with the config that a lookup
    finds for them anyway.

    Args:
        table: Every m of it is complete.
        depth: How many keys stand above the m.
        earlier: Keys of pins to make again in any case.
    """
    found: dict[KeyPath, Pin] = {}
    earlier_places = by_place(earlier, depth)
    for path, shapes in by_place(table, depth).items():
        each = [_Shape(keys, table, depth, default) for keys in shapes.values()]
        wanted = {m for shape in each for m in shape.pinned_m()}
        wanted |= {m for keys in earlier_places.get(path, {}).values() for m in keys}
        for shape in each:
            found |= {shape.key(m): shape.pin(m) for m in sorted(wanted - set(shape.keys))}
    return found


def by_place(keys: Iterable[KeyPath], depth: int) -> dict[KeyPath, dict[KeyPath, dict[int, KeyPath]]]:
    """Returns the keys of a file by what stands above the m (the place), by what stands below (the shape), and by m."""
    places: dict[KeyPath, dict[KeyPath, dict[int, KeyPath]]] = {}
    for key in keys:
        places.setdefault(key[:depth], {}).setdefault(key[depth + 1 :], {})[int(key[depth])] = key
    return places


def _put(file: ConfigFile, key: KeyPath, each: Pin) -> None:
    file.put(key, "pin", dict(each.config))
    if each.like is not None:
        source = file.after.written.get(each.like) or file.before.records.get(each.like)
        study, about = source.study if source else None, {"taken": list(each.like)}
        file.after.written[key] = replace(file.after.written[key], study=study, provenance=about)


@dataclass(frozen=True)
class _Shape:
    """The entries of one shape in a file, by m."""

    keys: Mapping[int, KeyPath]
    table: Table
    depth: int
    default: Default

    def pinned_m(self) -> Iterator[int]:
        """Yields the m on both sides of each change that a lookup at one of them does not respect."""
        for sides in _changes(self.keys, lambda m: self.default(self.key(m))):
            if any(self._finds_another_default(m) for m in sides):
                yield from sides

    def key(self, m: int) -> KeyPath:
        some = next(iter(self.keys.values()))
        return (*some[: self.depth], str(m), *some[self.depth + 1 :])

    def pin(self, m: int) -> Pin:
        found = self._found(m)
        return Pin(self.default(self.key(m)), None) if self._finds_another_default(m) else Pin(self.table[found], found)

    def _finds_another_default(self, m: int) -> bool:
        """Returns whether a lookup at an m finds the default of another m, which is not its own."""
        config = self.table[self._found(m)]
        return config == self.default(self._found(m)) and config != self.default(self.key(m))

    def _found(self, m: int) -> KeyPath:
        """Returns the key whose entry a lookup takes."""
        return self.keys[nearest(self.keys, m)]


def _changes(m_values: Iterable[int], default: Callable[[int], object]) -> Iterator[tuple[int, int]]:
    """Yields the last m of one default and the first of the next, of at most one change between two m of a file."""
    for low, high in itertools.pairwise(sorted({1, *m_values, MOST_TOKENS})):
        below = default(low)
        if below == default(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if default(middle) == below else (low, middle)
        yield low, high
