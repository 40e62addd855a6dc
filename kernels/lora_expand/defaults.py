"""What our expand launches with where nothing was tuned: chosen by the shape, once, from what was best for many shapes.

Measured on one H100 and one H200 (README.md): the more columns a batch has in all, the wider the block's tile.
"""

from __future__ import annotations

from typing import Final

from autotune.contract import Config
from autotune.kernels.common.tiles import next_pow2

_DEEPEST: Final = 64
"""The most of the rank that a step takes."""

_SHALLOW: Final = 32
"""Up to this rank, writing the output costs more than reading the weights, however few rows a block has."""

_LARGE_BATCH: Final = 512


def default_config(m: int, k: int, n: int, num_slices: int) -> Config:
    """Returns the default for rank k and slices of up to n columns.

    Batches between two powers of two share one, so that few kernels are compiled.
    """
    m = next_pow2(m)
    block_m, block_n, num_warps = _tile(m, k, num_slices)
    return {
        "block_m": block_m,
        "block_n": min(block_n, max(16, next_pow2(n))),
        "block_k": min(_DEEPEST, max(16, next_pow2(k))),
        "num_warps": num_warps,
        "num_stages": 1,
        "num_ctas": 1,
    }


def _tile(m: int, k: int, num_slices: int) -> tuple[int, int, int]:
    """Returns rows, columns and warps of a block."""
    if m < _LARGE_BATCH:
        if num_slices == 1:
            return 16, 128, 4
        return (16, 64, 4) if m < 128 else (16, 256, 4)
    if k > _SHALLOW:
        # Few rows would read the weights too often.
        return 64, 128, 4
    if num_slices > 1:
        return 32, 128, 2
    return (32, 128, 4) if m < 4096 else (32, 256, 8)
