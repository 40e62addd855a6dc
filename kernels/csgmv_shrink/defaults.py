"""What our shrink launches with where nothing was tuned: chosen by the shape, once."""

from __future__ import annotations

from typing import Final

from autotune.contract import Config
from autotune.kernels.common.tiles import next_pow2

_WARPS: Final = {16: 2, 32: 2, 64: 4, 128: 8}
"""By chunk size, as studies on an H100 and an H200 chose (docs/results.md)."""

_TILE_ELEMENTS: Final = {16: 8192, 32: 8192, 64: 4096, 128: 4096}
"""Weights of one K step, likewise."""

_WIDE: Final = 128
"""Columns of one block, likewise: where they divide the output, x is read fewer times; a K step then has `_WIDE_STEP`
columns at every chunk size."""
_WIDE_STEP: Final = 64


def default_config(chunk_size: int, columns: int, k: int) -> Config:
    """Returns the default for rows of k columns, and an output of so many columns."""
    depth = next_pow2(k)
    if columns % _WIDE == 0:
        block_n, block_k = _WIDE, max(32, min(_WIDE_STEP, depth))
    else:
        block_n = max(16, min(64, next_pow2(columns)))
        block_k = max(32, min(512, _TILE_ELEMENTS[chunk_size] // block_n, depth))
    return {"BLOCK_N": block_n, "BLOCK_K": block_k, "num_warps": _WARPS[chunk_size], "num_stages": 3}
