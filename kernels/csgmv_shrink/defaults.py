"""What our shrink launches with where nothing was tuned: chosen by the shape, once."""

from __future__ import annotations

from typing import Final

from autotune.contract import Config
from autotune.kernels.common.csgmv import csgmv_tile
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import cdiv, next_pow2
from autotune.kernels.csgmv_shrink.joining import joined
from autotune.kernels.csgmv_shrink.splitting import parts_of_k
from autotune.servers.sglang.own_keys import SEGMENTS

_JOINED_ROWS: Final = 64
"""Rows of a block that takes several segments: with fewer, blocks read weights over and over out of L2; Hopper's full
tensor rate takes as many; with more, there are fewer blocks to share out."""
_WIDE_JOINED_ROWS: Final = 128
"""Of one whose columns are `_WIDE`: it reads so many weights that fewer reads of them count for more. In studies on an
H200 (K 1024, 128 columns) it takes 23.8 us instead of 27.3, whatever the chunk size."""
_JOINED_WARPS: Final = 4
"""At most, likewise."""

_WARPS: Final = {16: 2, 32: 2, 64: 4, 128: 8}
"""By rows of a block, as studies on an H100 and an H200 chose by chunk size (docs/results.md)."""

_TILE_ELEMENTS: Final = {16: 8192, 32: 8192, 64: 4096, 128: 4096}
"""Weights of one K step, likewise."""

_WIDE: Final = 128
"""Columns of one block, likewise: where they divide the output, x is read fewer times; a K step then has `_WIDE_STEP`
columns, whatever the rows."""
_WIDE_STEP: Final = 64

_NARROW: Final = 16
"""Columns of a block of a decode batch: narrow blocks are as many as there are columns to share out."""
_DECODE_WARPS: Final = {16: 2, 32: 4, 64: 4, 128: 8}
_DECODE_STEP: Final = {16: 256, 32: 256, 64: 128, 128: 128}
"""By chunk size. Of chunks of 16 on an H200 the fastest of seven configs or within 6% of it for two and more requests,
at K from 1024 to 14,336 and ranks from 8 to 128; for a single one up to a fifth longer where K is 14,336. Chunks of 64
and 128, which graphs of 256 requests may have, take up to half of what prompts' blocks take so, or as long."""
_UNSPLIT_STEPS: Final = 2
"""As long are the steps of a block that takes all of K."""

_LONE_CHUNK: Final = 32
_LONE_STEP: Final = 256
_LONE_WARPS: Final = 4
"""Of `_NARROW` columns at most, segments of so many rows stay alone, with the steps and warps that the server has
for them: joined they took 70 us where the server's kernel takes 65 (K 4096, H200). In chunks of 16 ours is 2% faster
with the server's config than the server's kernel (docs/results.md); in these it has not been raced."""

_STAGES: Final = 3
_FEWER_STAGES: Final = 2
"""Of a few columns in chunks of 128, on a GPU with 100 KB a block (L4, RTX 4090)."""


def default_config(batch: Segmentation, columns: int, k: int, is_decode: bool, shared_bytes: int) -> Config:
    """Returns the default for rows of k columns, and an output of so many columns.

    Args:
        is_decode: Whether there are few tokens, or a graph of a decode batch is captured.
        shared_bytes: The most shared memory of a block: where two steps do not fit in it, one is loaded ahead.
    """
    config = _by_shape(batch, columns, k, is_decode)
    tile = csgmv_tile(batch.chunk_size * config[SEGMENTS], config)
    return config if tile.shared_bytes <= shared_bytes else {**config, "num_stages": _FEWER_STAGES}


def _by_shape(batch: Segmentation, columns: int, k: int, is_decode: bool) -> dict[str, int]:
    depth = next_pow2(k)
    if is_decode:
        longer = _UNSPLIT_STEPS if parts_of_k(batch, k, cdiv(columns, _NARROW)) == 1 else 1
        step = max(32, min(longer * _DECODE_STEP[batch.chunk_size], depth))
        return _config(_NARROW, step, _DECODE_WARPS[batch.chunk_size], segments=1)
    if columns <= _NARROW and batch.chunk_size == _LONE_CHUNK:
        return _config(_NARROW, max(32, min(_LONE_STEP, depth)), _LONE_WARPS, segments=1)
    is_wide = columns % _WIDE == 0
    block_n = _WIDE if is_wide else max(16, min(64, next_pow2(columns)))
    rows = _WIDE_JOINED_ROWS if is_wide else _JOINED_ROWS
    segments = joined(batch, max(1, rows // batch.chunk_size), cdiv(columns, block_n))
    rows = batch.chunk_size * segments
    warps = _WARPS[rows] if segments == 1 else min(_JOINED_WARPS, _WARPS[rows])
    step = _WIDE_STEP if is_wide else min(512, _TILE_ELEMENTS[rows] // block_n)
    return _config(block_n, max(32, min(step, depth)), warps, segments)


def _config(block_n: int, block_k: int, warps: int, segments: int) -> dict[str, int]:
    return {"BLOCK_N": block_n, "BLOCK_K": block_k, "num_warps": warps, "num_stages": _STAGES, SEGMENTS: segments}
