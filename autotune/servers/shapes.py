"""Describes one lookup of a server, at any number of tokens, and how to time it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.contract import Call


@dataclass(frozen=True)
class Shape:
    """One key of a server's files, without the level that batches choose (m, or the chunk size).

    Attributes:
        server: Whose lookup it is.
        op: The server's name of the op.
        dims: The sizes it compares, by its names for them.
        size: Name of the level left out, ``m`` or ``chunk_size``.
        kernels: The kernels to tune for it; empty where no measurement would change what the server does.
        flags: What `Kernel.problem_from_flags` needs beside the size.
        layers: Labels of the layers that look it up.
        count: How many times a forward pass looks it up.
        max_size: Largest size that occurs; None for whatever the server batches.
        min_size: Smallest size at which the entry is read for anything.
        shares: The sizes to tune it at, each with its share of the traffic; None for the plan's.
        together: What the plug-in alone can launch for this lookup, or for it and the one before it at once, a shape a
            layer.
    """

    server: str
    op: str
    dims: Mapping[str, int]
    size: str
    kernels: tuple[str, ...]
    flags: Mapping[str, Any]
    layers: tuple[str, ...]
    count: int
    max_size: int | None = None
    min_size: int = 1
    shares: Mapping[int, float] | None = None
    together: tuple[Shape, ...] = field(default=(), compare=False)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for lookups that the server cannot tell apart."""
        return (self.op, tuple(sorted(self.dims.items())))

    @property
    def labels(self) -> tuple[str, ...]:
        """Its sizes, each with its name, to be read. Whether expand adds to its output is no size."""
        return tuple(f"{name}={value}" for name, value in self.dims.items() if name != "add_inputs")

    def call(self, size: int) -> Call:
        return Call(self.server, self.op, {**self.dims, self.size: size})

    def occurs(self, size: int) -> bool:
        """Tells whether the server reads the entry for batches of this size."""
        return self.min_size <= size and (self.max_size is None or size <= self.max_size)


def merged(shapes: Iterable[Shape]) -> list[Shape]:
    """Returns the distinct lookups, each with all its layers; of those that share one, the first to be timed says
    how."""
    by_key: dict[tuple[Any, ...], Shape] = {}
    for shape in shapes:
        if (first := by_key.get(shape.key)) is None:
            by_key[shape.key] = shape
            continue
        largest = None if None in (first.max_size, shape.max_size) else max(first.max_size or 0, shape.max_size or 0)
        layers = tuple(dict.fromkeys(first.layers + shape.layers))
        timed = first if first.kernels else shape
        by_key[shape.key] = replace(
            timed,
            layers=layers,
            count=first.count + shape.count,
            max_size=largest,
            min_size=min(first.min_size, shape.min_size),
            shares=None if None in (first.shares, shape.shares) else first.shares,
            together=first.together + shape.together,
        )
    return list(by_key.values())
