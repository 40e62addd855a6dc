"""What a thread block of the shrink computes of a segment: a sum over all of K, or over its part."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def segment_rows(  # type: ignore[no-untyped-def]
    segment,
    seg_indptr_ptr,
    weight_indices_ptr,
    lora_ranks_ptr,
    NUM_SLICES: tl.constexpr,
    RANK_ALIGNMENT: tl.constexpr,
):
    """Returns a segment's first row, the row behind it, its adapter, and how many columns that has."""
    start = tl.load(seg_indptr_ptr + segment)
    end = tl.load(seg_indptr_ptr + segment + 1)
    slot = tl.load(weight_indices_ptr + segment).to(tl.int64)
    columns = NUM_SLICES * tl.multiple_of(tl.load(lora_ranks_ptr + slot), RANK_ALIGNMENT)
    return start, end, slot, columns


@triton.jit
def sum_of_steps(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    token,
    offs_n,
    in_m,
    in_n,
    first_k,
    DEPTH: tl.constexpr,
    K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    MASK_K: tl.constexpr,
):
    """Returns ``[BM, BN]`` in fp32: the product of tokens' rows and an adapter's weights, over DEPTH columns of K from
    `first_k` on; MASK_K is for those of which some are behind K."""
    offs_k = first_k + tl.arange(0, BLOCK_K)
    x_ptrs = x_ptr + token[:, None] * K + offs_k[None, :]  # [BM, BK]
    a_ptrs = a_ptr + offs_n[None, :] * K + offs_k[:, None]  # [BK, BN]
    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for k in range(0, DEPTH, BLOCK_K):
        in_k = k + offs_k < K
        # The weights first: x waits for the permutation.
        a = tl.load(a_ptrs, mask=in_n & in_k[:, None] if MASK_K else in_n, other=0.0)
        x = tl.load(x_ptrs, mask=in_m & in_k[None, :] if MASK_K else in_m, other=0.0)
        acc = tl.dot(x, a, acc)
        x_ptrs += BLOCK_K
        a_ptrs += BLOCK_K
    return acc
