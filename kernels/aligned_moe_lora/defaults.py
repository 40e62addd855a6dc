"""The config that runs where no file has one: vLLM's own rule for the same launch, without the spills that it has."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.contract import Config
from autotune.kernels.common.tiles import cdiv

BLOCK_N = 128
_WAVES = 1.5
"""Blocks of rows for each SM, from which on none is shared out among several thread blocks (contracts A6)."""

_MOST_COLUMN_BLOCKS = 16
_DEEP, _DEEP_BLOCK_K, _SHALLOW_BLOCK_K = 256, 128, 64
"""Columns of x from which on a K step is long, and the lengths of a long and of a short step (contracts A6)."""

_BUSY_EXPERT = 16
"""Pairs of an expert from which on a K step is long, also where x has few columns (contracts A6)."""

_SMALL_SHARED_BYTES = 68 * 1024
"""Shared memory below which the loop has two stages and not three (contracts A6)."""

_TALL_BLOCK_M = 128
"""Rows of a block whose sums and inputs do not fit in the registers of four warps."""


@dataclass(frozen=True)
class LaunchShape:
    """What the default depends on.

    Attributes:
        block_m: Rows of a block.
        row_blocks: Blocks of rows in the grid, over all slices and adapters, empty ones included.
        k: Columns of x.
        n: Columns of the output in a slice.
        pairs: Pairs of a token and an expert.
        experts: Experts on this GPU.
        sms: The GPU's multiprocessors.
        shared_bytes: The most shared memory of a block.
    """

    block_m: int
    row_blocks: int
    k: int
    n: int
    pairs: int
    experts: int
    sms: int
    shared_bytes: int


def default_config(shape: LaunchShape) -> Config:
    """Returns the default, chosen by the shape."""
    columns = _column_blocks(shape)
    deep = shape.k >= _DEEP or shape.pairs >= _BUSY_EXPERT * shape.experts
    return {
        "block_m": shape.block_m,
        "block_n": BLOCK_N,
        "block_k": _DEEP_BLOCK_K if deep else _SHALLOW_BLOCK_K,
        "column_blocks": columns,
        "num_warps": 8 if columns > 1 or shape.block_m >= _TALL_BLOCK_M else 4,
        "num_stages": 2 if shape.shared_bytes < _SMALL_SHARED_BYTES else 3,
    }


def servers_is_faster(block_m: int, pairs: int, experts: int) -> bool:
    """Tells whether the server's own kernel is faster than the default: in tall blocks that are full.

    With Qwen3-30B-A3B at rank 16 and blocks of 128 rows on an H200, its time over the default's is 0.89 (gate and up)
    and 0.95 (down) at 512 pairs an expert, and 1.10 and 1.03 at 64, where blocks are at most half full
    (docs/results.md).
    """
    return block_m >= _TALL_BLOCK_M and pairs > experts * block_m


def _column_blocks(shape: LaunchShape) -> int:
    """Counts the thread blocks that share a block of rows, each with columns of its own but the whole shrink."""
    if shape.row_blocks >= _WAVES * shape.sms:
        return 1
    worthwhile = int(1.5 * (shape.k + shape.n) / shape.k) + 1
    wanted = cdiv(2 * shape.sms, max(1, shape.row_blocks))
    return max(1, min(_MOST_COLUMN_BLOCKS, wanted, worthwhile, cdiv(shape.n, BLOCK_N)))
