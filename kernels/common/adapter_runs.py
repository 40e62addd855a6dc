"""Finds the adapters of neighbouring segments' rows, in a kernel whose blocks take several segments (csgmv)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def neighbours(  # type: ignore[no-untyped-def]
    first, segments, seg_indptr_ptr, weight_indices_ptr, SEGMENTS: tl.constexpr
):
    """Returns SEGMENTS segments from the first one on: their first rows, the rows behind them, and their adapters. Past
    the last segment that one is found again, which adds no rows."""
    taken = tl.minimum(first + tl.arange(0, SEGMENTS), segments - 1)
    return tl.load(seg_indptr_ptr + taken), tl.load(seg_indptr_ptr + taken + 1), tl.load(weight_indices_ptr + taken)


@triton.jit
def row_adapter(row, starts, ends, slots):  # type: ignore[no-untyped-def]
    """Returns a row's adapter; rows tell theirs, for the index of a segment without rows says nothing.

    Args:
        row: One that is in a segment.
        starts, ends, slots: ``[SEGMENTS]``, of `neighbours`.
    """
    return tl.max(tl.where((starts <= row) & (row < ends), slots, 0))


@triton.jit
def adapter_end(row, last, starts, ends, slots):  # type: ignore[no-untyped-def]
    """Returns the first row after this one that is of another adapter, `last` at most."""
    owner = row_adapter(row, starts, ends, slots)
    return tl.min(tl.where((starts > row) & (starts < ends) & (slots != owner), starts, last))
