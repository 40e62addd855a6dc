"""Finds the segment that a thread block goes on to, in kernels whose grid has no block for each (csgmv)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def next_segment(segment, segments, seg_indptr_ptr):  # type: ignore[no-untyped-def]
    """Returns the segment as many places behind as the grid has blocks of rows, and its first row.

    Past the last segment that is the batch's end. A block asks before it does its work, so that the answer is there
    by then.
    """
    following = tl.minimum(segment + tl.num_programs(1), segments)
    return following, tl.load(seg_indptr_ptr + following)
