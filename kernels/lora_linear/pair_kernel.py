"""The pair in one launch: shrink programs, then expand programs that wait for them. Shapes and order: README.md."""

from __future__ import annotations

import triton
import triton.language as tl

from autotune.kernels.common.adapter_columns import slice_columns, slice_weight
from autotune.kernels.common.dependent_launch import wait_for_launch_ahead
from autotune.kernels.lora_linear.parts import load_ahead, store_part, store_product, sum_of_parts
from autotune.kernels.lora_linear.rows import rows_of_tile

ARRIVALS_STRIDE = 32
"""Counters lie in memory lines of their own, so that waiting for one does not slow down another."""


@triton.jit(do_not_specialize=["M"])
def lora_linear_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    b_ptr,
    out_ptr,
    parts_ptr,
    arrivals_ptr,
    M,
    token_lora_ptr,
    sorted_tokens_ptr,
    lora_tokens_ptr,
    lora_start_ptr,
    lora_ids_ptr,
    scaling,
    shrink_programs,
    column_tiles,
    K,
    N,
    x_stride_m,
    out_stride_m,
    out_column,
    RANK: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WHOLE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    SPLIT_K: tl.constexpr,
    WARPS: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    SAME_WIDTH: tl.constexpr,
    ALIGNED: tl.constexpr,
    EVEN_K: tl.constexpr,
    ADD_INPUTS: tl.constexpr,
    PREFETCH: tl.constexpr,
    ARRIVALS_STRIDE: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        wait_for_launch_ahead()
    SHRINKS: tl.constexpr = SPLIT_K * ((RANK + BLOCK_R - 1) // BLOCK_R)
    pid = tl.program_id(0)
    shrinks = pid < shrink_programs
    job = tl.where(shrinks, pid, pid - shrink_programs)
    jobs_of_tile = tl.where(shrinks, NUM_SLICES * SHRINKS, column_tiles)
    row_tile = job // jobs_of_tile
    job = job % jobs_of_tile
    lora_id, token, exists, has = rows_of_tile(
        row_tile, M, token_lora_ptr, sorted_tokens_ptr, lora_tokens_ptr, lora_start_ptr, lora_ids_ptr,
        GROUPS, GROUP_BLOCK, BLOCK_M, WHOLE,
    )  # fmt: skip
    if lora_id < 0:
        return
    lora_id = lora_id.to(tl.int64)

    if shrinks:
        slice_id = job // SHRINKS
        lora_a_ptr = slice_weight(a_ptr, slice_id, x_ptr, NUM_SLICES) + lora_id * RANK * K
        group = row_tile * NUM_SLICES + slice_id
        store_part(
            x_ptr + token * x_stride_m, lora_a_ptr, parts_ptr + group * SPLIT_K * BLOCK_M * RANK, exists, job % SHRINKS,
            K, RANK, BLOCK_M, BLOCK_K, BLOCK_R, SPLIT_K, WARPS, EVEN_K,
        )  # fmt: skip
        # All warps must have stored before one says so.
        tl.debug_barrier()
        tl.atomic_add(arrivals_ptr + group * ARRIVALS_STRIDE, 1, sem="release")
    else:
        slice_id, tile, width, column, b_stride_l = slice_columns(
            job, b_ptr, N, out_column, RANK, BLOCK_N, NUM_SLICES, SAME_WIDTH, ALIGNED
        )
        lora_b_ptr = slice_weight(b_ptr, slice_id, out_ptr, NUM_SLICES) + lora_id * b_stride_l
        group = row_tile * NUM_SLICES + slice_id
        arrivals_ptr += group * ARRIVALS_STRIDE
        out_rows = out_ptr + token * out_stride_m + column
        b, base = load_ahead(
            lora_b_ptr, out_rows, has, tile, width, RANK, BLOCK_M, BLOCK_N, RANK_BLOCK, ADD_INPUTS and PREFETCH
        )
        # Shrinks count up from 0. Below 0 the program of the first tile has left already.
        arrived = tl.atomic_add(arrivals_ptr, 0, sem="acquire")
        while (arrived >= 0) & (arrived < SHRINKS):
            arrived = tl.atomic_add(arrivals_ptr, 0, sem="acquire")
        h = sum_of_parts(parts_ptr + group * SPLIT_K * BLOCK_M * RANK, has, RANK, BLOCK_M, RANK_BLOCK, SPLIT_K)
        # The last to leave brings the counter back to zero, for the next launch.
        leave = tl.where(tile == 0, 1 - SHRINKS - tl.cdiv(width, BLOCK_N), 1)
        tl.atomic_add(arrivals_ptr, leave, sem="relaxed")
        store_product(h * scaling, b, base, out_rows, has, tile, width, BLOCK_N, ADD_INPUTS, PREFETCH)
