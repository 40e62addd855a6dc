"""What our expand launches with where nothing was tuned: chosen by the shape, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from autotune.contract import Config
from autotune.kernels.common.tiles import next_pow2

_COLUMNS: Final = {16: 128, 32: 128, 64: 128, 128: 64}
_WARPS: Final = {16: 2, 32: 2, 64: 8, 128: 8}
"""Both by chunk size, as studies on an H100 and an H200 chose (docs/results.md)."""

_DEPTH: Final = 64
_STAGES: Final = 3

_SHORT_CHUNK: Final = 16
_WIDE_COLUMNS: Final = 256
_WIDE: Final[Config] = {"BLOCK_N": _WIDE_COLUMNS, "BLOCK_K": _DEPTH, "num_warps": 4, "num_stages": 1, "maxnreg": 128}
"""For several slices in the shortest chunks, where the rank fills a step: there are columns enough for blocks twice as
wide. On an H200 (4096 and 6144 columns, rank 64) it takes 4.3 and 5.7 us instead of 6.9 and 9.6 for a decode batch of
one request, 5.5 and 9.2 instead of 8.3 and 12.8 for 16, and 5% to 7% less for prompts (docs/results.md)."""


def default_config(chunk_size: int, rank: int, widths: Sequence[int]) -> Config:
    """Returns the default for slices of so many columns.

    The whole rank is one step, where it is not large: a block then keeps its weights from chunk to chunk.
    """
    block_k, widest = max(16, min(_DEPTH, next_pow2(rank))), max(widths)
    if chunk_size == _SHORT_CHUNK and len(widths) > 1 and block_k == _DEPTH >= rank and widest >= _WIDE_COLUMNS:
        return _WIDE
    return {
        "BLOCK_N": max(16, min(_COLUMNS[chunk_size], next_pow2(widest))),
        "BLOCK_K": block_k,
        "num_warps": _WARPS[chunk_size],
        "num_stages": 1 if block_k >= rank else _STAGES,
    }
