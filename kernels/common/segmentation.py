"""Knows what the host can tell of a batch in segments (csgmv): how full they are, but not which adapters they have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Segmentation:
    """A batch in segments.

    Attributes:
        segments: Places in the segment buffer, of which any may be empty.
        chunk_size: Most tokens of a segment.
    """

    tokens: int
    segments: int
    chunk_size: int

    @property
    def is_filled(self) -> bool:
        """Whether segments are half full on average: as all of an adapter's segments but its last are full, most rows
        then stand in full ones. Those of decode batches, and of the buffers of their graphs, hold few tokens, if
        any."""
        return 2 * self.tokens >= self.segments * self.chunk_size
