"""Finds, inside a kernel, the weights and the columns that a tile of a launch over several slices has."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def slice_weight(ptr, slice_id, like_ptr, NUM_SLICES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Returns a slice's weights: the argument itself, or of several slices what the table says."""
    if NUM_SLICES > 1:
        ptr = tl.load(ptr + slice_id).to(tl.pointer_type(like_ptr.dtype.element_ty))
        ptr = tl.multiple_of(ptr, 16)
    return ptr


@triton.jit
def slice_columns(  # type: ignore[no-untyped-def]
    tile,
    table_ptr,
    N,
    out_column,
    RANK: tl.constexpr,
    BLOCK_N: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    SAME_WIDTH: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Returns the slice of a tile of columns, its number in there, the slice's width, its first column, and the
    distance of its adapters' weights.

    Args:
        tile: The tile's number, counted through all slices.
        table_ptr: Address, width, first column and distance of each slice; not read where widths are the same.
        N: Width of each slice, where they are the same.
        out_column: First column of the first slice, where they are the same.
    """
    if SAME_WIDTH:
        tiles = tl.cdiv(N, BLOCK_N)
        slice_id = tile // tiles
        width = N
        column = out_column + slice_id * N
        # A width of 1 is a constant to the compiler, and constants cannot be cast.
        stride = (slice_id * 0).to(tl.int64) + N * RANK
        tile = tile % tiles
    else:
        slice_id = tile * 0
        width = slice_id
        column = slice_id
        stride = slice_id.to(tl.int64)
        begin = slice_id
        within = slice_id
        for s in tl.static_range(NUM_SLICES):
            width_s = tl.load(table_ptr + NUM_SLICES + s).to(tl.int32)
            mine = (tile >= begin) & (tile < begin + tl.cdiv(width_s, BLOCK_N))
            slice_id = tl.where(mine, s, slice_id)
            within = tl.where(mine, tile - begin, within)
            width = tl.where(mine, width_s, width)
            column = tl.where(mine, tl.load(table_ptr + 2 * NUM_SLICES + s).to(tl.int32), column)
            stride = tl.where(mine, tl.load(table_ptr + 3 * NUM_SLICES + s), stride)
            begin += tl.cdiv(width_s, BLOCK_N)
        tile = within
    if ALIGNED:
        width = tl.multiple_of(width, 16)
        column = tl.multiple_of(column, 16)
        stride = tl.multiple_of(stride, 16)
    return slice_id, tile, width, column, stride
