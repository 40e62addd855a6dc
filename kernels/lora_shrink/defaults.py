"""What our shrink launches with where nothing was tuned: chosen by the shape, once, from what was best for many shapes.

Measured on one H100 and one H200 (README.md): a block takes about 16 rows of a small batch and 64 of a large one, and K
is split until the GPU has some blocks a multiprocessor.
"""

from __future__ import annotations

import math
from typing import Final

from autotune.contract import Config
from autotune.kernels.common.tiles import cdiv, next_pow2

_BLOCKS: Final = 512
"""How many blocks with work a launch of many tokens should have: four a multiprocessor of the GPUs measured on."""

_BLOCKS_OF_SMALL_BATCHES: Final = 1024
"""Their blocks are small."""

_LOW_RANK: Final = 32
_LARGE_BATCH: Final = 4096
_BLOCKS_OF_LARGE_BATCHES: Final = 420
"""At least, of a low rank: little more than three blocks a multiprocessor load too little at a time. Studies of three
slices at rank 16 on an H200: with 396 blocks 34.3 us and with twice as many 24.9 (8192 tokens), with 408 18.9 and 15.7
(4096); 432 are within 3% of the best (2048), and at rank 64 408 are the best (4096)."""

_FEW_BLOCKS: Final = 430
"""Of a large batch, at most: each then has room for one more stage, and too few stand beside it to hide its loads. At
rank 64 and three slices 405 of them take 38.5 us with it and 44.1 without (8192 tokens), 426 take 22.6 and 24.9 (4096),
and at rank 32 17.6 and 20.3; 540 take 38.4 with and 30.4 without (H200)."""
_RANK_WITH_ROOM: Final = 64

_MOST_SPLITS: Final = 64
_SMALL_BATCH, _MIDDLE_BATCH = 256, 512


def default_config(m: int, k: int, n: int, num_slices: int, groups: int) -> Config:
    """Returns the default for tokens ``[m, k]`` and rank n.

    Batches between two powers of two share one, so that few kernels are compiled.
    """
    m = next_pow2(m)
    block_n = min(128, max(16, next_pow2(n)))
    if m <= _SMALL_BATCH:
        block_m, block_k, num_warps, num_stages = 16, 128, 2 if block_n < 64 else 4, 2
    elif m <= _MIDDLE_BATCH:
        block_m, block_k, num_warps, num_stages = 32, 64, 2 if block_n < 64 else 4, 3
    else:
        block_m, block_k, num_warps, num_stages = 64, 64, 4, 3
    block_k = min(block_k, max(16, next_pow2(k)))
    # Each adapter's rows begin a tile of their own.
    tiles = min(m, cdiv(m, block_m) + groups - 1) * cdiv(n, block_n) * num_slices
    blocks = _BLOCKS_OF_SMALL_BATCHES if m <= _SMALL_BATCH else _BLOCKS
    splits = 1 << max(0, round(math.log2(blocks / tiles)))
    if n <= _LOW_RANK and m >= _LARGE_BATCH and tiles * splits < _BLOCKS_OF_LARGE_BATCHES:
        splits *= 2
    if m >= _LARGE_BATCH and n <= _RANK_WITH_ROOM and tiles * splits <= _FEW_BLOCKS:
        num_stages += 1
    return {
        "block_m": block_m,
        "block_n": block_n,
        "block_k": block_k,
        "split_k": min(splits, _MOST_SPLITS, next_pow2(cdiv(k, block_k))),
        "num_warps": num_warps,
        "num_stages": num_stages,
        "num_ctas": 1,
        "group_size_m": 8,
    }
