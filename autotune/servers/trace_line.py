"""Defines what a plug-in writes into a trace, a JSON object a line: lookups as made, batches as counted.

It is imported in a server's processes, and where a trace is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

VARIABLE: Final = "LORA_AUTOTUNE_TRACE"
"""The environment variable that names the file, and turns the recorder on."""

Rows = Literal["tokens", "samples"]
"""What a launch has a row for: each token of a batch, or each that is sampled from, as an lm_head's has."""

ROWS: Final[tuple[Rows, ...]] = ("tokens", "samples")


@dataclass(frozen=True)
class SeenLookup:
    """One lookup, without the size that batches choose (m, or the chunk size).

    Attributes:
        dims: What the server compares, by its names.
        details: What else tells the problem: widths of slices, experts, how the server is sharded.
        dtype: Of the adapters' weights.
    """

    server: str
    release: str
    op: str
    dims: tuple[tuple[str, int], ...]
    details: tuple[tuple[str, int | tuple[int, ...]], ...]
    dtype: str
    rows: Rows

    def to_json(self) -> dict[str, Any]:
        return {
            "server": self.server,
            "release": self.release,
            "op": self.op,
            "dims": dict(self.dims),
            "details": dict(self.details),
            "dtype": self.dtype,
            "rows": self.rows,
        }


@dataclass
class SeenLaunches:
    """By which layers and at which sizes a process made a lookup.

    Attributes:
        layers: How many layers' weights it was made for: so often does a forward pass make it.
        captured: Sizes at which a CUDA graph was captured; what a graph replays asks nobody.
        largest: The largest size outside captures; 0 if there was none.
    """

    layers: int = 0
    captured: set[int] = field(default_factory=set)
    largest: int = 0

    def add(self, other: SeenLaunches) -> None:
        """Takes in what another process, or the same layers at other sizes, made: a layer that each has counts once."""
        self.layers = max(self.layers, other.layers)
        self.captured |= other.captured
        self.largest = max(self.largest, other.largest)


def lookup_line(process: str, lookup: SeenLookup, launches: SeenLaunches) -> dict[str, Any]:
    """Returns the line of a lookup; of several lines of one process the last counts."""
    return {
        "process": process,
        "lookup": lookup.to_json(),
        "layers": launches.layers,
        "captured": sorted(launches.captured),
        "largest": launches.largest,
    }


def batches_line(process: str, server: str, rows: Rows, batches: Mapping[int, int]) -> dict[str, Any]:
    """Returns the line of batches with adapters, by size, that ran since the process's line before."""
    return {
        "process": process,
        "server": server,
        "rows": rows,
        "batches": {str(size): count for size, count in sorted(batches.items())},
    }
