"""What our expand launches with where nothing was tuned: chosen by the shape, once."""

from __future__ import annotations

from typing import Final

from autotune.contract import Config
from autotune.kernels.common.tiles import next_pow2

_COLUMNS: Final = {16: 128, 32: 128, 64: 128, 128: 64}
_WARPS: Final = {16: 2, 32: 2, 64: 8, 128: 8}
"""Both by chunk size, as studies on an H100 and an H200 chose (docs/results.md)."""

_DEPTH: Final = 64
_STAGES: Final = 3


def default_config(chunk_size: int, rank: int, widest: int) -> Config:
    """Returns the default for slices of up to so many columns.

    The whole rank is one step, where it is not large: a block then keeps its weights from chunk to chunk.
    """
    block_k = max(16, min(_DEPTH, next_pow2(rank)))
    return {
        "BLOCK_N": max(16, min(_COLUMNS[chunk_size], next_pow2(widest))),
        "BLOCK_K": block_k,
        "num_warps": _WARPS[chunk_size],
        "num_stages": 1 if block_k >= rank else _STAGES,
    }
