"""Where a server's default changes with the token count: entries that keep one side's default from the other side.

Between two m a server takes the nearest one's entry. A tuned one was measured there; the default of another side was
not, nor is it what the server would launch without a file (law 4).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.export.thinning import by_place
from autotune.servers import KeyPath, Table
from autotune.servers.lookup import nearest

MOST_TOKENS = 1 << 20
"""More than any batch has: the defaults of all m up to it are compared."""

Default = Callable[[KeyPath], Mapping[str, Any]]
"""What the server launches without a file where it looks this key up."""


@dataclass(frozen=True)
class Pin:
    """An entry to be.

    Attributes:
        taken: The key whose entry the server would take in its stead, and whose config it repeats; None if its config
            is the default instead.
    """

    config: Mapping[str, Any]
    taken: KeyPath | None


def pins(table: Table, depth: int, default: Default, earlier: Iterable[KeyPath] = ()) -> dict[KeyPath, Pin]:
    """What a file lacks at either side of a change of the default, where a lookup would get the other side's.

    Every m holds all shapes of its place, so those for which nothing is wrong get what they would get anyhow.

    Args:
        table: Every m of it is complete.
        depth: How many keys stand above the m.
        earlier: Places of pins to be made again in any case.
    """
    found: dict[KeyPath, Pin] = {}
    there = by_place(earlier, depth)
    for path, shapes in by_place(table, depth).items():
        each = [_Shape(keys, table, depth, default) for keys in shapes.values()]
        wanted = {m for shape in each for m in shape.sides()} | {m for ms in there.get(path, {}).values() for m in ms}
        for shape in each:
            found |= {shape.key(m): shape.pin(m) for m in sorted(wanted - set(shape.keys))}
    return found


@dataclass(frozen=True)
class _Shape:
    """The entries of one shape in a file, by m."""

    keys: Mapping[int, KeyPath]
    table: Table
    depth: int
    default: Default

    def sides(self) -> Iterator[int]:
        """The m at both sides of each change that a lookup at one of them does not respect."""
        for sides in _changes(self.keys, lambda m: self.default(self.key(m))):
            if any(self._is_wrong(m) for m in sides):
                yield from sides

    def key(self, m: int) -> KeyPath:
        some = next(iter(self.keys.values()))
        return (*some[: self.depth], str(m), *some[self.depth + 1 :])

    def pin(self, m: int) -> Pin:
        taken = self._taken(m)
        return Pin(self.default(self.key(m)), None) if self._is_wrong(m) else Pin(self.table[taken], taken)

    def _is_wrong(self, m: int) -> bool:
        config = self.table[self._taken(m)]
        return config == self.default(self._taken(m)) and config != self.default(self.key(m))

    def _taken(self, m: int) -> KeyPath:
        return self.keys[nearest(self.keys, m)]


def _changes(m_values: Iterable[int], default: Callable[[int], object]) -> Iterator[tuple[int, int]]:
    """The last m of one default and the first of the next, for at most one change between two m of a file."""
    for low, high in itertools.pairwise(sorted({1, *m_values, MOST_TOKENS})):
        if default(low) == default(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if default(middle) == default(low) else (low, middle)
        yield low, high
