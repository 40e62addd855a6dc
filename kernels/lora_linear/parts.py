"""What the programs of a pair do, in one launch or two: a shrink's part, and an expand that sums the parts."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def store_part(  # type: ignore[no-untyped-def]
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
def load_ahead(  # type: ignore[no-untyped-def]
    b_ptr,
    out_rows,
    in_m,
    tile,
    width,
    RANK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    WITH_OUTPUT: tl.constexpr,
):
    """Loads what an expand needs besides the parts: its weights ``[R, BN]``, and the output as it is, ``[BM, BN]``."""
    offs_n = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_r = tl.arange(0, RANK_BLOCK)
    # Columns beyond the end repeat the first one: cheaper than a mask, and never stored.
    b_row = tl.where(offs_n < width, offs_n, 0)
    b_ptrs = b_ptr + b_row[None, :] * RANK + offs_r[:, None]
    b = tl.load(b_ptrs) if RANK == RANK_BLOCK else tl.load(b_ptrs, mask=(offs_r < RANK)[:, None], other=0.0)
    if WITH_OUTPUT:
        in_out = in_m[:, None] & (offs_n < width)[None, :]
        base = tl.load(out_rows[:, None] + offs_n[None, :], mask=in_out, other=0.0)
    else:
        base = tl.zeros([BLOCK_M, BLOCK_N], dtype=b.dtype)
    return b, base


@triton.jit
def sum_of_parts(  # type: ignore[no-untyped-def]
    parts_ptr,
    in_m,
    RANK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    SPLIT_K: tl.constexpr,
):
    """Sums the parts of a tile of rows in their order, so that results repeat: ``[BM, R]`` fp32."""
    offs_r = tl.arange(0, RANK_BLOCK)
    part_ptrs = parts_ptr + tl.arange(0, BLOCK_M)[:, None] * RANK + offs_r[None, :]
    in_part = in_m[:, None] & (offs_r < RANK)[None, :]
    h = tl.zeros([BLOCK_M, RANK_BLOCK], dtype=tl.float32)
    for split in tl.static_range(SPLIT_K):
        h += tl.load(part_ptrs + split * BLOCK_M * RANK, mask=in_part, other=0.0, cache_modifier=".cg")
    return h


@triton.jit
def store_product(  # type: ignore[no-untyped-def]
    h,
    b,
    base,
    out_rows,
    in_m,
    tile,
    width,
    BLOCK_N: tl.constexpr,
    ADD_INPUTS: tl.constexpr,
    PREFETCHED: tl.constexpr,
):
    """Stores ``h @ b``, added to what the output holds if ADD_INPUTS."""
    offs_n = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    out_ptrs = out_rows[:, None] + offs_n[None, :]  # [BM, BN]
    in_out = in_m[:, None] & (offs_n < width)[None, :]
    out = tl.dot(h.to(b.dtype), b)
    if ADD_INPUTS:
        if not PREFETCHED:
            base = tl.load(out_ptrs, mask=in_out, other=0.0)
        out += base
    tl.store(out_ptrs, out.to(out_rows.dtype.element_ty), mask=in_out)
