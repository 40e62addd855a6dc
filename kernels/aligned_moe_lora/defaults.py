"""The config that runs where no file has one: chosen by the shape, once, from what was best for several models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from autotune.contract import Config
from autotune.kernels.common.tiles import cdiv, next_pow2

BLOCK_N = 128

_DEEP, _DEEP_BLOCK_K, _SHALLOW_BLOCK_K = 256, 128, 64
"""Columns of x from which on a K step is long, and the lengths of a long and of a short step (contracts A6)."""

_BUSY_EXPERT = 16
"""Pairs of an expert from which on a K step is long, also where x has few columns (contracts A6)."""

_MOST_COLUMN_BLOCKS = 16
_BLOCKS_PER_SM = 2
"""Thread blocks for each SM, from which on none of them shares its rows with others."""

_MOST_TALL_SHRINKS = 2
"""Times that a block of more rows than `_SHORT_BLOCK_M` is shrunk on idle SMs: with four, Mixtral's down takes 79 us
instead of 61, at 16 tokens in blocks of 64 rows (H200)."""

_SHORT_BLOCK_M = 16
_SHORT_BLOCK_N = 256
_WIDE_RANK, _WIDEST_RANK = 32, 64
"""Ranks whose weights of `_SHORT_BLOCK_N` columns fit in the registers of two warps, and of four."""

_STAGES, _MORE_STAGES, _FEWER_STAGES = 3, 4, 2
"""More where a launch has so few blocks of rows that each waits for its own loads: one for two SMs, or fewer."""

_SMALL_SHARED_BYTES = 68 * 1024
"""Shared memory below which the loop has two stages and not three (contracts A6)."""

_TALL_BLOCK_M = 128
"""Rows of a block whose sums and inputs do not fit in the registers of four warps."""

_BYTES: Final = 2
_OTHER_SHARED_BYTES: Final = 8 * 1024
"""What a block needs of shared memory besides what it loads ahead, at most: compiled for Ada, Ampere and Hopper."""


@dataclass(frozen=True)
class LaunchShape:
    """What the default depends on.

    Attributes:
        block_m: Rows of a block.
        slices: Parts of the output, each with blocks of its own.
        adapters: That there is room for.
        rank: Columns between shrink and expand.
        k: Columns of x.
        n: Columns of the output in a slice.
        tokens: Of the batch.
        top_k: Experts of a token.
        experts: Experts on this GPU.
        sms: The GPU's multiprocessors.
        shared_bytes: The most shared memory of a block.
    """

    block_m: int
    slices: int
    adapters: int
    rank: int
    k: int
    n: int
    tokens: int
    top_k: int
    experts: int
    sms: int
    shared_bytes: int

    @property
    def pairs(self) -> int:
        """Pairs of a token and an expert; batches between two powers of two share a default, so that few kernels are
        compiled."""
        return next_pow2(self.tokens) * self.top_k

    @property
    def is_short(self) -> bool:
        """Whether blocks have so few rows that they are small."""
        return self.block_m <= _SHORT_BLOCK_M

    @property
    def busy_blocks(self) -> int:
        """The most blocks of rows that have work, over all slices: the grid has room for far more."""
        full = self.pairs // self.block_m
        return self.slices * max(1, min(self.pairs, self.experts * self.adapters + full))


def default_config(shape: LaunchShape) -> Config:
    """Returns the default, chosen by the shape.

    Blocks of `_SHORT_BLOCK_M` rows are so small that four warps of vLLM's rule stand in each other's way: with two of
    them, and wide columns, decode batches of Qwen3-30B-A3B and Mixtral take 0.5 to 0.9 of the time that the rule takes
    on an H200 (docs/results.md).
    """
    is_wide = shape.is_short and shape.rank <= _WIDEST_RANK
    block_n = min(_SHORT_BLOCK_N, max(BLOCK_N, next_pow2(shape.n))) if is_wide else BLOCK_N
    columns = _column_blocks(shape, block_n)
    deep = shape.k >= _DEEP or shape.pairs >= _BUSY_EXPERT * shape.experts
    block_k = _DEEP_BLOCK_K if deep else _SHALLOW_BLOCK_K
    if is_wide:
        num_warps = 2 if shape.rank <= _WIDE_RANK else 4
    else:
        num_warps = 8 if columns > 1 or shape.block_m >= _TALL_BLOCK_M else 4
    return {
        "block_m": shape.block_m,
        "block_n": block_n,
        "block_k": block_k,
        "column_blocks": columns,
        "num_warps": num_warps,
        "num_stages": _stages(shape, block_n, block_k),
    }


def servers_is_faster(block_m: int, pairs: int, experts: int) -> bool:
    """Tells whether the server's own kernel is faster than the default: in tall blocks that are full.

    With Qwen3-30B-A3B at rank 16 and blocks of 128 rows on an H200, its time over the default's is 0.89 (gate and up)
    and 0.95 (down) at 512 pairs an expert, where such calls are left to it since, and 1.10 and 1.03 at 64, where blocks
    are at most half full (docs/results.md).
    """
    return block_m >= _TALL_BLOCK_M and pairs > experts * block_m


def _column_blocks(shape: LaunchShape, block_n: int) -> int:
    """Counts the thread blocks that share a block of rows, each with columns of its own but the whole shrink.

    The shrink is made again in each. That costs nothing on SMs that would stand idle; on busy ones it pays as long as
    all shrinks of a block of rows are less work than twice its expand.
    """
    busy, repeated = shape.busy_blocks, 1 + 2 * shape.n // shape.k
    alone = min(shape.sms // busy, _MOST_COLUMN_BLOCKS if shape.is_short else _MOST_TALL_SHRINKS)
    wanted = max(alone, min(cdiv(_BLOCKS_PER_SM * shape.sms, busy), repeated))
    return max(1, min(_MOST_COLUMN_BLOCKS, wanted, cdiv(shape.n, block_n)))


def _stages(shape: LaunchShape, block_n: int, block_k: int) -> int:
    """Counts the steps that are under way at once, of the shrink's loop and of the expand's."""
    if shape.shared_bytes < _SMALL_SHARED_BYTES:
        return _FEWER_STAGES
    block_r = max(16, next_pow2(shape.rank))
    loaded = max(block_k, block_n) * (shape.block_m + block_r) * _BYTES
    needed_bytes = {stages: (stages - 1) * loaded + _OTHER_SHARED_BYTES for stages in (_STAGES, _MORE_STAGES)}
    few = shape.busy_blocks <= shape.sms // _BLOCKS_PER_SM
    if few and shape.is_short and _BLOCKS_PER_SM * needed_bytes[_MORE_STAGES] <= shape.shared_bytes:
        return _MORE_STAGES
    return _STAGES if needed_bytes[_STAGES] <= shape.shared_bytes else _FEWER_STAGES
