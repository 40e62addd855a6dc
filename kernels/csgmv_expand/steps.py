"""The expand of an adapter's rows, in the kernels of `launcher`: at once, or some rows after the other."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _rows(  # type: ignore[no-untyped-def]
    x_ptr,
    out_ptr,
    permutation_ptr,
    first,
    end,
    X_STRIDE: tl.constexpr,
    OUT_STRIDE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Returns the addresses of BLOCK_M rows in x ``[BM, BK]`` and in the output ``[BM, BN]``, and which of them there
    are."""
    offs_m = tl.arange(0, BLOCK_M)
    in_m = first + offs_m < end
    token = tl.load(permutation_ptr + first + offs_m, mask=in_m, other=0).to(tl.int64)
    x_ptrs = x_ptr + token[:, None] * X_STRIDE + tl.arange(0, BLOCK_K)[None, :]
    out_ptrs = out_ptr + token[:, None] * OUT_STRIDE + tl.arange(0, BLOCK_N)[None, :]
    return x_ptrs, out_ptrs, in_m[:, None]


@triton.jit
def one_step(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptrs,
    out_ptr,
    permutation_ptr,
    start,
    end,
    rank,
    scaling,
    in_n,
    X_STRIDE: tl.constexpr,
    OUT_STRIDE: tl.constexpr,
    MAX_RANK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Computes rows `start` to `end`, BLOCK_M at most, in as many K steps as it takes."""
    x_ptrs, out_ptrs, in_m = _rows(
        x_ptr, out_ptr, permutation_ptr, start, end, X_STRIDE, OUT_STRIDE, BLOCK_M, BLOCK_N, BLOCK_K
    )
    # Loaded already now, so that the load overlaps the product.
    base = tl.load(out_ptrs, mask=in_m & in_n, other=0.0)
    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    # The bound of a single step is a constant, so that no loop is left.
    for k in range(0, MAX_RANK if MAX_RANK <= BLOCK_K else rank, BLOCK_K):
        in_k = k + tl.arange(0, BLOCK_K) < rank
        b = tl.load(b_ptrs, mask=in_n & in_k[:, None], other=0.0)
        x = tl.load(x_ptrs, mask=in_m & in_k[None, :], other=0.0)
        acc = tl.dot(x, b, acc)
        x_ptrs += BLOCK_K
        b_ptrs += BLOCK_K
    tl.store(out_ptrs, base + (scaling * acc).to(base.dtype), mask=in_m & in_n)


@triton.jit
def many_steps(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptrs,
    out_ptr,
    permutation_ptr,
    start,
    end,
    rank,
    scaling,
    in_n,
    X_STRIDE: tl.constexpr,
    OUT_STRIDE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Computes rows `start` to `end`, BLOCK_M after BLOCK_M, in one K step each: the weights stay, the next rows are
    under way."""
    in_k = tl.arange(0, BLOCK_K) < rank
    b = tl.load(b_ptrs, mask=in_n & in_k[:, None], other=0.0)
    x_ptrs, out_ptrs, in_m = _rows(
        x_ptr, out_ptr, permutation_ptr, start, end, X_STRIDE, OUT_STRIDE, BLOCK_M, BLOCK_N, BLOCK_K
    )
    x = tl.load(x_ptrs, mask=in_m & in_k[None, :], other=0.0)
    base = tl.load(out_ptrs, mask=in_m & in_n, other=0.0)
    for first in range(start, end, BLOCK_M):
        x_ptrs, out_ptrs, in_m = _rows(
            x_ptr,
            out_ptr,
            permutation_ptr,
            first + BLOCK_M,
            end,
            X_STRIDE,
            OUT_STRIDE,
            BLOCK_M,
            BLOCK_N,
            BLOCK_K,
        )
        next_x = tl.load(x_ptrs, mask=in_m & in_k[None, :], other=0.0)
        next_base = tl.load(out_ptrs, mask=in_m & in_n, other=0.0)
        # Found again: keeping the addresses would cost more registers than the rows themselves.
        _, out_ptrs, in_m = _rows(
            x_ptr, out_ptr, permutation_ptr, first, end, X_STRIDE, OUT_STRIDE, BLOCK_M, BLOCK_N, BLOCK_K
        )
        added = scaling * tl.dot(x, b)
        tl.store(out_ptrs, base + added.to(base.dtype), mask=in_m & in_n)
        x, base = next_x, next_base
