"""The kernel: shrink programs, then expand programs that wait for them, in one launch. Shapes and order: README.md."""

from __future__ import annotations

import triton
import triton.language as tl

from autotune.kernels.common.adapter_columns import slice_columns, slice_weight
from autotune.kernels.common.adapter_rows import adapter_rows
from autotune.kernels.common.dependent_launch import wait_for_launch_ahead

ARRIVALS_STRIDE = 32
"""Counters lie in memory lines of their own, so that waiting for one does not slow down another."""


@triton.jit
def lora_linear_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    b_ptr,
    out_ptr,
    parts_ptr,
    arrivals_ptr,
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
    lora_id, first, end = adapter_rows(
        row_tile, 0, lora_tokens_ptr, lora_start_ptr, lora_ids_ptr, GROUPS, GROUP_BLOCK, BLOCK_M, COUNTED=True
    )
    if lora_id < 0:
        return
    offs_m = first + tl.arange(0, BLOCK_M)
    in_m = offs_m < end
    token = tl.load(sorted_tokens_ptr + offs_m, mask=in_m, other=0).to(tl.int64)
    lora_id = lora_id.to(tl.int64)

    if shrinks:
        slice_id = job // SHRINKS
        lora_a_ptr = slice_weight(a_ptr, slice_id, x_ptr, NUM_SLICES) + lora_id * RANK * K
        group = row_tile * NUM_SLICES + slice_id
        _shrink(
            x_ptr + token * x_stride_m, lora_a_ptr, parts_ptr + group * SPLIT_K * BLOCK_M * RANK, in_m, job % SHRINKS,
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
        # The last to leave brings the counter back to zero, for the next launch.
        expands = tl.cdiv(width, BLOCK_N)
        leave = tl.where(tile == 0, 1 - SHRINKS - expands, 1)
        _expand(
            lora_b_ptr, out_ptr + token * out_stride_m + column, parts_ptr + group * SPLIT_K * BLOCK_M * RANK,
            arrivals_ptr + group * ARRIVALS_STRIDE, in_m, tile, width, leave, scaling,
            RANK, BLOCK_M, BLOCK_N, RANK_BLOCK, SPLIT_K, SHRINKS, ADD_INPUTS, PREFETCH,
        )  # fmt: skip


@triton.jit
def _shrink(  # type: ignore[no-untyped-def]
    x_rows,
    a_ptr,
    parts_ptr,
    in_m,
    job,
    K,
    RANK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    SPLIT_K: tl.constexpr,
    WARPS: tl.constexpr,
    EVEN_K: tl.constexpr,
):
    """Stores one split's part of ``x[rows] @ a[ranks].T``; the warps share out the columns of each K step."""
    split = job % SPLIT_K
    offs_r = job // SPLIT_K * BLOCK_R + tl.arange(0, BLOCK_R)
    in_r = offs_r < RANK
    EVEN_R: tl.constexpr = RANK % BLOCK_R == 0
    DEPTH: tl.constexpr = BLOCK_K // WARPS
    offs_k = tl.arange(0, WARPS)[:, None] * DEPTH + tl.arange(0, DEPTH)[None, :]  # [W, D]
    x_ptrs = x_rows[None, :, None] + split * BLOCK_K + offs_k[:, None, :]  # [W, BM, D]
    a_ptrs = a_ptr + offs_r[None, None, :] * K + split * BLOCK_K + offs_k[:, :, None]  # [W, D, BR]
    acc = tl.zeros([WARPS, BLOCK_M, BLOCK_R], dtype=tl.float32)
    for k in range(split * BLOCK_K, K, BLOCK_K * SPLIT_K):
        in_k = k + offs_k < K
        # The weights first: x waits for the token list.
        if EVEN_K and EVEN_R:
            a = tl.load(a_ptrs)
        else:
            a = tl.load(a_ptrs, mask=in_r[None, None, :] & in_k[:, :, None], other=0.0)
        x = tl.load(x_ptrs, mask=in_m[None, :, None] if EVEN_K else in_m[None, :, None] & in_k[:, None, :], other=0.0)
        acc = tl.dot(x, a, acc)
        x_ptrs += BLOCK_K * SPLIT_K
        a_ptrs += BLOCK_K * SPLIT_K
    offs_m = tl.arange(0, BLOCK_M)
    part_ptrs = parts_ptr + (split * BLOCK_M + offs_m[:, None]) * RANK + offs_r[None, :]  # [BM, BR]
    tl.store(part_ptrs, tl.sum(acc, 0), mask=in_m[:, None] & in_r[None, :])


@triton.jit
def _expand(  # type: ignore[no-untyped-def]
    b_ptr,
    out_rows,
    parts_ptr,
    arrivals_ptr,
    in_m,
    tile,
    width,
    leave,
    scaling,
    RANK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    SPLIT_K: tl.constexpr,
    SHRINKS: tl.constexpr,
    ADD_INPUTS: tl.constexpr,
    PREFETCH: tl.constexpr,
):
    """Waits for the parts with its weights at hand, sums them in their order, and multiplies."""
    offs_n = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_r = tl.arange(0, RANK_BLOCK)
    in_r = offs_r < RANK
    # Columns beyond the end repeat the first one: cheaper than a mask, and never stored.
    b_row = tl.where(offs_n < width, offs_n, 0)
    b_ptrs = b_ptr + b_row[None, :] * RANK + offs_r[:, None]  # [R, BN]
    b = tl.load(b_ptrs) if RANK == RANK_BLOCK else tl.load(b_ptrs, mask=in_r[:, None], other=0.0)
    out_ptrs = out_rows[:, None] + offs_n[None, :]  # [BM, BN]
    in_out = in_m[:, None] & (offs_n < width)[None, :]
    if ADD_INPUTS and PREFETCH:
        base = tl.load(out_ptrs, mask=in_out, other=0.0)

    # Shrinks count up from 0. Below 0 the program of the first tile has left already.
    arrived = tl.atomic_add(arrivals_ptr, 0, sem="acquire")
    while (arrived >= 0) & (arrived < SHRINKS):
        arrived = tl.atomic_add(arrivals_ptr, 0, sem="acquire")

    part_ptrs = parts_ptr + tl.arange(0, BLOCK_M)[:, None] * RANK + offs_r[None, :]  # [BM, R]
    in_part = in_m[:, None] & in_r[None, :]
    h = tl.zeros([BLOCK_M, RANK_BLOCK], dtype=tl.float32)
    for split in tl.static_range(SPLIT_K):
        h += tl.load(part_ptrs + split * BLOCK_M * RANK, mask=in_part, other=0.0, cache_modifier=".cg")
    tl.atomic_add(arrivals_ptr, leave, sem="relaxed")
    out = tl.dot((h * scaling).to(b.dtype), b)
    if ADD_INPUTS:
        if not PREFETCH:
            base = tl.load(out_ptrs, mask=in_out, other=0.0)
        out += base
    tl.store(out_ptrs, out.to(out_rows.dtype.element_ty), mask=in_out)
