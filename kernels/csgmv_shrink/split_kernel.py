"""The csgmv shrink kernel whose thread blocks share K."""

from __future__ import annotations

import triton
import triton.language as tl

from autotune.kernels.common.next_segment import next_segment
from autotune.kernels.csgmv_shrink.steps import segment_rows, sum_of_steps


@triton.jit(do_not_specialize=["segments", "tokens"])  # batches of any size share a compiled kernel
def split_shrink_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    out_ptr,
    permutation_ptr,
    seg_indptr_ptr,
    weight_indices_ptr,
    lora_ranks_ptr,
    segments,
    partials_ptr,
    arrivals_ptr,
    tokens,
    K: tl.constexpr,
    MAX_RANK: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    RANK_ALIGNMENT: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """A block takes a part of K of a segment; other than that as `csgmv_shrink_kernel`."""
    segment = tl.program_id(1)
    first_n = tl.program_id(0) * BLOCK_N
    batch_end = tl.load(seg_indptr_ptr + segments)
    start = tl.load(seg_indptr_ptr + segment)
    while start < batch_end:
        following, following_start = next_segment(segment, segments, seg_indptr_ptr)
        _, end, slot, columns = segment_rows(
            segment, seg_indptr_ptr, weight_indices_ptr, lora_ranks_ptr, NUM_SLICES, RANK_ALIGNMENT
        )
        if (start < end) & (first_n < columns):
            arrivals = arrivals_ptr + segment * tl.num_programs(0) + tl.program_id(0)
            _part_of_product(
                x_ptr, a_ptr, out_ptr, permutation_ptr, partials_ptr, arrivals, tokens, start, end, slot, columns,
                first_n, K, MAX_RANK, NUM_SLICES, PARTS, BLOCK_M, BLOCK_N, BLOCK_K,
            )  # fmt: skip
        segment, start = following, following_start


@triton.jit
def _part_of_product(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    out_ptr,
    permutation_ptr,
    partials_ptr,
    arrivals_ptr,
    tokens,
    start,
    end,
    slot,
    columns,
    first_n,
    K: tl.constexpr,
    MAX_RANK: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Leaves the sum over a part of K; the block that comes last adds all of them up, always in the same order."""
    COLUMNS: tl.constexpr = NUM_SLICES * MAX_RANK
    DEPTH: tl.constexpr = (K + PARTS * BLOCK_K - 1) // (PARTS * BLOCK_K) * BLOCK_K
    rows = start + tl.arange(0, BLOCK_M)
    offs_n = first_n + tl.arange(0, BLOCK_N)
    token = tl.load(permutation_ptr + rows, mask=rows < end, other=0).to(tl.int64)
    slot_ptr = a_ptr + slot * (COLUMNS * K)
    in_m, in_n = (rows < end)[:, None], (offs_n < columns)[None, :]
    part = tl.program_id(2)
    acc = sum_of_steps(
        x_ptr,
        slot_ptr,
        token,
        offs_n,
        in_m,
        in_n,
        part * DEPTH,
        DEPTH,
        K,
        BLOCK_M,
        BLOCK_N,
        BLOCK_K,
        MASK_K=PARTS * DEPTH != K,
    )
    partial_ptrs = partials_ptr + rows[:, None] * COLUMNS + offs_n[None, :]
    tl.store(partial_ptrs + part * tokens * COLUMNS, acc, mask=in_m & in_n)
    tl.debug_barrier()  # one thread tells that all have stored
    if tl.atomic_add(arrivals_ptr, 1, sem="acq_rel") == PARTS - 1:
        total = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
        for other in tl.static_range(PARTS):
            # Not from L1, which does not see what other multiprocessors store.
            total += tl.load(partial_ptrs + other * tokens * COLUMNS, mask=in_m & in_n, other=0.0, cache_modifier=".cg")
        tl.store(
            out_ptr + token[:, None] * COLUMNS + offs_n[None, :], total.to(out_ptr.dtype.element_ty), mask=in_m & in_n
        )
        tl.store(arrivals_ptr, 0)
