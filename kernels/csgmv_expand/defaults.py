"""What our expand launches with where nothing was tuned: chosen by the shape, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from autotune.contract import Config
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import cdiv, next_pow2

_DEPTH: Final = 64

_WIDE_COLUMNS: Final = 256
_WIDE: Final[Config] = {"BLOCK_N": _WIDE_COLUMNS, "BLOCK_K": _DEPTH, "num_warps": 4, "num_stages": 1}
"""For ranks that fill a step, in rows that are walked through, whatever the chunk size. On an H200 at rank 64 and
30,720 tokens it takes 43 to 45 us for 1024 columns and 160 to 166 for three slices of 4096, with one adapter or eight,
and is the best of a dozen configs or within 2% of it (docs/results.md)."""

_COLUMNS: Final = 128
_WARPS: Final = 2
_REGISTERS: Final = 128
"""Of lower ranks, and where columns are few: within 2% of the best at rank 16, too. The cap is for ranks that 8 divides
and the host knows: narrow accesses, and looking which ones to make, need more registers than it leaves."""

_DECODE_COLUMNS: Final = 64
_DECODE_WARPS: Final = 2
_MANY_BLOCKS: Final = 2048
_MANY_WARPS: Final = 4
"""Of decode batches, which have few blocks: narrow ones share the work out, up to about as many as run at a time.
Beyond, blocks of `_COLUMNS` are faster: of `_WARPS` for low ranks, of `_MANY_WARPS` for ranks that fill a step. Of 14
configs on an H200 these are the fastest or within 4% of it, at ranks 8, 16 and 64, 1 to 256 requests of 8 adapters,
1024 to 28,672 columns; at rank 64 blocks of 256 columns take up to a third longer."""

_STEP_COLUMNS: Final = {16: 128, 32: 128, 64: 128, 128: 64}
_STEP_WARPS: Final = {16: 2, 32: 2, 64: 8, 128: 8}
"""By chunk size, where a rank takes several steps: a chunk is multiplied at a time, as studies on an H100 and an H200
chose."""
_STAGES: Final = 3

_WIDE_ALIGNMENT: Final = 8
"""Elements of 16 bytes."""


@dataclass(frozen=True)
class Ranks:
    """What the host knows of the adapters' ranks.

    Attributes:
        largest: The pool's.
        alignment: What divides all of them, as far as it counts.
        are_checked: Whether the kernel has to look, as in a graph, which outlives a change of adapters.
    """

    largest: int
    alignment: int
    are_checked: bool

    @property
    def are_wide(self) -> bool:
        """Whether all accesses are known to be wide."""
        return not self.are_checked and self.alignment >= _WIDE_ALIGNMENT and self.largest % _WIDE_ALIGNMENT == 0


def default_config(batch: Segmentation, ranks: Ranks, widths: Sequence[int], is_decode: bool) -> Config:
    """Returns the default for slices of so many columns.

    The whole rank is one step, where it is not large: a block then keeps its weights from rows to rows.

    Args:
        is_decode: Whether there are few tokens, or a graph of a decode batch is captured.
    """
    rank = ranks.largest
    columns = next_pow2(max(widths))
    if rank > _DEPTH:
        block_n = max(16, min(_STEP_COLUMNS[batch.chunk_size], columns))
        warps = _STEP_WARPS[batch.chunk_size]
        return {"BLOCK_N": block_n, "BLOCK_K": _DEPTH, "num_warps": warps, "num_stages": _STAGES}
    block_k, block_n = max(16, next_pow2(rank)), max(16, min(_COLUMNS, columns))
    if is_decode:
        return _of_decode(batch.most_used, block_k, widths)
    cap = {"maxnreg": _REGISTERS} if ranks.are_wide else {}
    if block_k == _DEPTH and rank % _WIDE_ALIGNMENT == 0 and max(widths) >= _WIDE_COLUMNS:
        return {**_WIDE, **cap}
    return {"BLOCK_N": block_n, "BLOCK_K": block_k, "num_warps": _WARPS, "num_stages": 1, **cap}


def _of_decode(segments: int, block_k: int, widths: Sequence[int]) -> Config:
    narrow = max(16, min(_DECODE_COLUMNS, next_pow2(max(widths))))
    if segments * sum(cdiv(width, narrow) for width in widths) <= _MANY_BLOCKS:
        return {"BLOCK_N": narrow, "BLOCK_K": block_k, "num_warps": _DECODE_WARPS, "num_stages": 1}
    warps = _MANY_WARPS if block_k == _DEPTH else _WARPS
    return {"BLOCK_N": _COLUMNS, "BLOCK_K": block_k, "num_warps": warps, "num_stages": 1}
