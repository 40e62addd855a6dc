"""The pair in two launches: shrinks that store their parts, and expands that come up meanwhile. Shapes: README.md."""

from __future__ import annotations

import triton
import triton.language as tl

from autotune.kernels.common.adapter_columns import slice_columns, slice_weight
from autotune.kernels.common.dependent_launch import wait_for_launch_ahead
from autotune.kernels.lora_linear.parts import load_ahead, store_part, store_product, sum_of_parts
from autotune.kernels.lora_linear.rows import rows_of_tile


@triton.jit(do_not_specialize=["M"])
def shrink_parts_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    parts_ptr,
    M,
    token_lora_ptr,
    sorted_tokens_ptr,
    lora_tokens_ptr,
    lora_start_ptr,
    lora_ids_ptr,
    K,
    x_stride_m,
    RANK: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WHOLE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    SPLIT_K: tl.constexpr,
    WARPS: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    EVEN_K: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        wait_for_launch_ahead()
    SHRINKS: tl.constexpr = SPLIT_K * ((RANK + BLOCK_R - 1) // BLOCK_R)
    job, row_tile = tl.program_id(0), tl.program_id(1)
    lora_id, token, exists, _ = rows_of_tile(
        row_tile, M, token_lora_ptr, sorted_tokens_ptr, lora_tokens_ptr, lora_start_ptr, lora_ids_ptr,
        GROUPS, GROUP_BLOCK, BLOCK_M, WHOLE,
    )  # fmt: skip
    slice_id = job // SHRINKS
    a_ptr = slice_weight(a_ptr, slice_id, x_ptr, NUM_SLICES)
    if lora_id < 0:
        return
    group = row_tile * NUM_SLICES + slice_id
    store_part(
        x_ptr + token * x_stride_m, a_ptr + lora_id.to(tl.int64) * RANK * K,
        parts_ptr + group * SPLIT_K * BLOCK_M * RANK, exists, job % SHRINKS,
        K, RANK, BLOCK_M, BLOCK_K, BLOCK_R, SPLIT_K, WARPS, EVEN_K,
    )  # fmt: skip


@triton.jit(do_not_specialize=["M"])
def expand_parts_kernel(  # type: ignore[no-untyped-def]
    b_ptr,
    out_ptr,
    parts_ptr,
    M,
    token_lora_ptr,
    sorted_tokens_ptr,
    lora_tokens_ptr,
    lora_start_ptr,
    lora_ids_ptr,
    scaling,
    N,
    out_stride_m,
    out_column,
    RANK: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WHOLE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    SPLIT_K: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    SAME_WIDTH: tl.constexpr,
    ALIGNED: tl.constexpr,
    ADD_INPUTS: tl.constexpr,
    PREFETCH: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    # The launch ahead is always the shrinks', which come up when all ahead of them has ended. So all but the parts can
    # be read before it has ended.
    row_tile = tl.program_id(1)
    lora_id, token, _, has = rows_of_tile(
        row_tile, M, token_lora_ptr, sorted_tokens_ptr, lora_tokens_ptr, lora_start_ptr, lora_ids_ptr,
        GROUPS, GROUP_BLOCK, BLOCK_M, WHOLE,
    )  # fmt: skip
    slice_id, tile, width, column, b_stride_l = slice_columns(
        tl.program_id(0), b_ptr, N, out_column, RANK, BLOCK_N, NUM_SLICES, SAME_WIDTH, ALIGNED
    )
    b_ptr = slice_weight(b_ptr, slice_id, out_ptr, NUM_SLICES)
    idle = lora_id < 0
    if DEPENDENT:  # noqa: SIM102 - known to the compiler, the other is not
        # A launch without work must not end before the one ahead either: the next one counts on it.
        if idle & (row_tile == 0) & (tl.program_id(0) == 0):
            wait_for_launch_ahead()
    if idle:
        return
    out_rows = out_ptr + token * out_stride_m + column
    b, base = load_ahead(
        b_ptr + lora_id.to(tl.int64) * b_stride_l, out_rows, has, tile, width,
        RANK, BLOCK_M, BLOCK_N, RANK_BLOCK, ADD_INPUTS and PREFETCH,
    )  # fmt: skip
    if DEPENDENT:
        wait_for_launch_ahead()
    group = row_tile * NUM_SLICES + slice_id
    h = sum_of_parts(parts_ptr + group * SPLIT_K * BLOCK_M * RANK, has, RANK, BLOCK_M, RANK_BLOCK, SPLIT_K)
    store_product(h * scaling, b, base, out_rows, has, tile, width, BLOCK_N, ADD_INPUTS, PREFETCH)
