"""Decides how many neighbouring segments of a batch a thread block of the shrink takes together."""

from __future__ import annotations

from typing import Final

from autotune.contract import Config
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import cdiv
from autotune.servers.sglang.own_keys import SEGMENTS

MOST_ROWS: Final = 128
"""Rows of a block, at most: those of the largest chunk, which one block takes."""

_ENOUGH_BLOCKS: Final = 128
"""Thread blocks that keep a GPU busy, about as many as it has multiprocessors."""


def wanted(config: Config) -> int:
    """Returns how many segments a config has a block take, a power of two."""
    found = config.get(SEGMENTS)
    return 1 if found is None else found


def joined(batch: Segmentation, wanted: int, across: int) -> int:
    """Returns how many segments a block takes: as many as are wanted, or fewer.

    One alone where segments hold few tokens: a block of many rows would load and multiply what is masked. Fewer also
    where blocks would get so few that multiprocessors stand idle, which costs more than the weights that are then read
    again.

    Args:
        across: Blocks of one segment.
    """
    if not batch.is_filled:
        return 1
    found = min(wanted, MOST_ROWS // batch.chunk_size)
    while found > 1 and across * cdiv(batch.segments, found) < _ENOUGH_BLOCKS:
        found //= 2
    return found
