"""Knows what the host can tell of a batch in segments (csgmv): how full they are, but not which adapters they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MOST_DECODE_TOKENS: Final = 512
"""Graphs of more are of prompts: few servers have as many requests at a time."""


@dataclass(frozen=True)
class Segmentation:
    """A batch in segments.

    Attributes:
        segments: Places in the segment buffer, of which any may be empty.
        chunk_size: Most tokens of a segment.
        slots: Adapters that its tokens may have.
    """

    tokens: int
    segments: int
    chunk_size: int
    slots: int

    @property
    def most_used(self) -> int:
        """How many segments have tokens, at most, if an adapter has one that is not full. A graph's buffer has a place
        for every token, and blocks for all of them take longer to come and go than the others to do the work."""
        return min(self.segments, self.tokens, (self.tokens + self.slots * (self.chunk_size - 1)) // self.chunk_size)

    @property
    def is_filled(self) -> bool:
        """Whether segments are half full on average: as all of an adapter's segments but its last are full, most rows
        then stand in full ones. Those of decode batches, and of the buffers of their graphs, hold few tokens, if
        any."""
        return 2 * self.tokens >= self.segments * self.chunk_size

    @property
    def goes_on(self) -> bool:
        """Whether a block that takes a segment goes on to others: in graphs of decode batches, where most are empty.

        With the loop kernels of large tiles need more registers: prompts' would take up to a third longer, those of
        graphs as well.
        """
        return not self.is_filled and self.tokens <= _MOST_DECODE_TOKENS

    @property
    def blocks(self) -> int:
        """How many blocks take a segment each: all, or where they go on as many as can have tokens."""
        return self.most_used if self.goes_on else self.segments
