"""Decides how many neighbouring segments of a batch a thread block of the shrink takes together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from autotune.contract import Config
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


@dataclass(frozen=True)
class Segmentation:
    """What the host knows of a batch in segments.

    Attributes:
        segments: Places in the segment buffer, of which any may be empty.
        chunk_size: Most tokens of a segment.
    """

    tokens: int
    segments: int
    chunk_size: int

    def joined(self, wanted: int, across: int) -> int:
        """Returns how many segments a block takes: as many as are wanted, or fewer.

        One alone in decode batches and in the buffers of graphs, whose segments hold few tokens, if any: a block of
        many rows would load and multiply what is masked. A batch whose segments are half full on average has rows
        enough, as all of an adapter's segments but its last are full. Fewer also where blocks would get so few that
        multiprocessors stand idle, which costs more than the weights that are then read again.

        Args:
            across: Blocks of one segment.
        """
        if 2 * self.tokens < self.segments * self.chunk_size:
            return 1
        joined = min(wanted, MOST_ROWS // self.chunk_size)
        while joined > 1 and across * cdiv(self.segments, joined) < _ENOUGH_BLOCKS:
            joined //= 2
        return joined
