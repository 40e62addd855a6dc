"""Finds the adapters of neighbouring segments' rows, in a kernel whose blocks take several segments (csgmv)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def row_adapter(row, starts, ends, slots):  # type: ignore[no-untyped-def]
    """Returns a row's adapter; rows tell theirs, for the index of a segment without rows says nothing.

    Args:
        row: One that is in a segment.
        starts, ends, slots: ``[SEGMENTS]``, the segments' first rows, the rows behind them, and their adapters.
    """
    return tl.max(tl.where((starts <= row) & (row < ends), slots, 0))


@triton.jit
def adapter_end(row, last, starts, ends, slots):  # type: ignore[no-untyped-def]
    """Returns the first row after this one that is of another adapter, `last` at most."""
    owner = row_adapter(row, starts, ends, slots)
    return tl.min(tl.where((starts > row) & (starts < ends) & (slots != owner), starts, last))
