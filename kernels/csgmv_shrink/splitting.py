"""Decides how many thread blocks of the shrink share K, where there are too few for a GPU: in decode batches."""

from __future__ import annotations

from typing import Final

from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import next_pow2, powers_of_two

_MOST_PARTS: Final = 16
_LEAST_DEPTH: Final = 512
"""Columns of K that a part has at least: what comes last waits for all others, which takes as long as a few steps."""
_UNSPLIT: Final = 1024
"""K that one block takes in about that time."""
_MOST_BLOCKS: Final = 600
"""Four or five for each multiprocessor of a large GPU: with more, they wait for each other."""


def parts_of_k(batch: Segmentation, k: int, across: int) -> int:
    """Returns how many blocks share K, a power of two; 1 where one takes all of it.

    They are the same for all batches between two powers of two of tokens, so that few kernels are to be compiled. Of
    1 to 32 parts, on an H200, those that this returns are the fastest or within 6% of it: K from 1024 to 14,336, ranks
    from 8 to 128, 1 to 256 requests of 8 adapters.

    Args:
        across: Blocks of one segment that share out its columns.
    """
    if k <= _UNSPLIT:
        return 1
    tokens = next_pow2(batch.tokens)
    segments = Segmentation(tokens, tokens, batch.chunk_size, batch.slots).most_used
    most = min(_MOST_PARTS, k // _LEAST_DEPTH, _MOST_BLOCKS // (across * segments))
    return powers_of_two(1, max(1, most))[-1]
