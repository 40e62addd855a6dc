"""Decides how many rows of a batch a thread block of the expand walks through, with its weights in hand."""

from __future__ import annotations

from typing import Final, NamedTuple

from autotune.contract import Config
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import cdiv, integers

STEP_ROWS: Final = 16
"""Rows of one step, while x and the output of the next are under way: more rows would take too many registers. The
smallest chunk has as many."""

_MOST_ROWS: Final = 256

_ENOUGH_WARPS: Final = 1536
"""Warps that keep a GPU busy, a dozen a multiprocessor; with fewer, each block walks through less."""


def is_one_step(config: Config, rank: int) -> bool:
    """Tells whether weights of the whole rank are one K step, so that a block can keep them from rows to rows."""
    return integers(config)["BLOCK_K"] >= rank


def step_rows(config: Config, rank: int, chunk_size: int) -> int:
    """Returns the rows of a step: few where the weights stay, else those of a chunk."""
    return STEP_ROWS if is_one_step(config, rank) else chunk_size


class BlockRows(NamedTuple):
    """What one thread block takes.

    Attributes:
        segments: Neighbouring segments, a power of two.
        parts: Blocks that share a segment's rows, a power of two; 1 where a block has several segments.
    """

    segments: int
    parts: int


def walk(batch: Segmentation, tiles: int, warps: int) -> BlockRows | None:
    """Returns what a block takes; None if that is a segment: where segments hold few tokens, or as many as a step.

    Else it takes as many rows as leave enough warps.

    Args:
        tiles: Blocks across the output's columns.
        warps: Of a block.
    """
    if not batch.is_filled:
        return None
    chunk_size, all_rows = batch.chunk_size, batch.segments * batch.chunk_size
    rows = _MOST_ROWS
    while rows > STEP_ROWS and tiles * cdiv(all_rows, rows) * warps < _ENOUGH_WARPS:
        rows //= 2
    found = BlockRows(max(1, rows // chunk_size), max(1, chunk_size // rows))
    return None if rows == chunk_size == STEP_ROWS else found
