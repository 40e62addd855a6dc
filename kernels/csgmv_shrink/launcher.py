"""The csgmv shrink kernel and the operation a server calls. Shapes: README.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from autotune.contract import Config, Launch
from autotune.kernels.common.adapter_runs import adapter_end, neighbours, row_adapter
from autotune.kernels.common.chunks import ChunkedBatch, segmentation
from autotune.kernels.common.next_segment import next_segment
from autotune.kernels.common.tiles import cdiv, integers
from autotune.kernels.csgmv_shrink.joining import joined, wanted
from autotune.kernels.csgmv_shrink.split_kernel import split_shrink_kernel
from autotune.kernels.csgmv_shrink.splitting import parts_of_k
from autotune.kernels.csgmv_shrink.steps import segment_rows, sum_of_steps
from autotune.kernels.csgmv_shrink.workspace import Workspace
from autotune.servers.sglang import launching
from autotune.servers.sglang.own_keys import SEGMENTS


@triton.jit
def _product(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    out_ptr,
    permutation_ptr,
    start,
    end,
    slot,
    columns,
    first_n,
    K: tl.constexpr,
    MAX_RANK: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Computes BLOCK_N columns of rows `start` to `end`, BLOCK_M at most, which are all of one adapter."""
    offs_m = tl.arange(0, BLOCK_M)
    offs_n = first_n + tl.arange(0, BLOCK_N)
    token = tl.load(permutation_ptr + start + offs_m, mask=start + offs_m < end, other=0).to(tl.int64)
    slot_ptr = a_ptr + slot * (NUM_SLICES * MAX_RANK * K)
    in_m, in_n = (start + offs_m < end)[:, None], (offs_n < columns)[None, :]
    acc = sum_of_steps(
        x_ptr, slot_ptr, token, offs_n, in_m, in_n, 0, K, K, BLOCK_M, BLOCK_N, BLOCK_K, MASK_K=K % BLOCK_K != 0
    )
    out_ptrs = out_ptr + token[:, None] * (NUM_SLICES * MAX_RANK) + offs_n[None, :]
    tl.store(out_ptrs, acc.to(out_ptr.dtype.element_ty), mask=in_m & in_n)


@triton.jit
def _of_segment(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    out_ptr,
    permutation_ptr,
    seg_indptr_ptr,
    weight_indices_ptr,
    lora_ranks_ptr,
    segment,
    K: tl.constexpr,
    MAX_RANK: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    RANK_ALIGNMENT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Computes a block's columns of one segment, if it has rows and the adapter has such columns."""
    start, end, slot, columns = segment_rows(
        segment, seg_indptr_ptr, weight_indices_ptr, lora_ranks_ptr, NUM_SLICES, RANK_ALIGNMENT
    )
    first_n = tl.program_id(0) * BLOCK_N
    if (start < end) & (first_n < columns):
        _product(
            x_ptr, a_ptr, out_ptr, permutation_ptr, start, end, slot, columns, first_n,
            K, MAX_RANK, NUM_SLICES, BLOCK_M, BLOCK_N, BLOCK_K,
        )  # fmt: skip


@triton.jit(do_not_specialize=["segments"])  # batches of any size share a compiled kernel
def csgmv_shrink_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    out_ptr,
    permutation_ptr,
    seg_indptr_ptr,
    weight_indices_ptr,
    lora_ranks_ptr,
    segments,
    K: tl.constexpr,
    MAX_RANK: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    RANK_ALIGNMENT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GOES_ON: tl.constexpr,
):
    """A block takes a segment. With GOES_ON the grid need not have a block for each: a block goes on to the segment as
    many places behind, until the batch ends."""
    segment = tl.program_id(1)
    if not GOES_ON:
        _of_segment(
            x_ptr, a_ptr, out_ptr, permutation_ptr, seg_indptr_ptr, weight_indices_ptr, lora_ranks_ptr, segment,
            K, MAX_RANK, NUM_SLICES, RANK_ALIGNMENT, BLOCK_M, BLOCK_N, BLOCK_K,
        )  # fmt: skip
    else:
        batch_end = tl.load(seg_indptr_ptr + segments)
        start = tl.load(seg_indptr_ptr + segment)
        while start < batch_end:
            following, following_start = next_segment(segment, segments, seg_indptr_ptr)
            _of_segment(
                x_ptr, a_ptr, out_ptr, permutation_ptr, seg_indptr_ptr, weight_indices_ptr, lora_ranks_ptr, segment,
                K, MAX_RANK, NUM_SLICES, RANK_ALIGNMENT, BLOCK_M, BLOCK_N, BLOCK_K,
            )  # fmt: skip
            segment, start = following, following_start


@triton.jit(do_not_specialize=["segments"])  # batches of any size share a compiled kernel
def joined_shrink_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    out_ptr,
    permutation_ptr,
    seg_indptr_ptr,
    weight_indices_ptr,
    lora_ranks_ptr,
    segments,
    K: tl.constexpr,
    MAX_RANK: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    RANK_ALIGNMENT: tl.constexpr,
    SEGMENTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Of each SEGMENTS neighbouring segments, one block takes the first adapter's rows, and another one the rest.

    Mostly there is no rest: it is where an adapter ends. One block for both would take twice as long as all others,
    which a launch of few blocks waits for. Blocks of the rest come first, and leave room for the others at once.
    """
    block, blocks = tl.program_id(1), tl.num_programs(1) // 2
    is_rest = block < blocks
    first_segment = tl.where(is_rest, block, block - blocks) * SEGMENTS
    starts, ends, slots = neighbours(first_segment, segments, seg_indptr_ptr, weight_indices_ptr, SEGMENTS)
    first_n = tl.program_id(0) * BLOCK_N
    first, last = tl.min(starts), tl.max(ends)
    change = adapter_end(first, last, starts, ends, slots)
    start = tl.where(is_rest, change, first)
    last = tl.where(is_rest, last, change)
    while start < last:
        slot = row_adapter(start, starts, ends, slots).to(tl.int64)
        end = adapter_end(start, last, starts, ends, slots)
        columns = NUM_SLICES * tl.multiple_of(tl.load(lora_ranks_ptr + slot), RANK_ALIGNMENT)
        if first_n < columns:
            _product(
                x_ptr, a_ptr, out_ptr, permutation_ptr, start, end, slot, columns, first_n,
                K, MAX_RANK, NUM_SLICES, BLOCK_M, BLOCK_N, BLOCK_K,
            )  # fmt: skip
        start = end


@dataclass(frozen=True)
class CsgmvShrinkArguments:
    """Arguments of one call.

    Attributes:
        x: ``[T, K]`` fp16 or bf16, contiguous.
        a: ``[slots, S * R, K]``, contiguous, type of x; an adapter of rank r has its slices at rows s * r.
        out: ``[T, S * R]``, contiguous, type of x; written up to column S * r, rows of rank 0 not at all.
        batch: Which tokens use which adapter.
        num_slices: S.
        check_ranks: The host does not know the ranks, or not those of a later batch that a graph is replayed with. They
            decide on the width of the stores alone, which are few: the kernel takes any, and does not look.
        workspace: For blocks that share K; None where they do not.
    """

    x: torch.Tensor
    a: torch.Tensor
    out: torch.Tensor
    batch: ChunkedBatch
    num_slices: int
    check_ranks: bool = False
    workspace: Workspace | None = None

    def __post_init__(self) -> None:
        tensors = (self.x, self.a, self.out)
        if not all(t.is_contiguous() and t.dtype == self.x.dtype for t in tensors):
            raise ValueError(f"csgmv_shrink: x, a and out must be contiguous and of one type, x is {self.x.dtype}")

    @property
    def max_rank(self) -> int:
        return self.a.shape[1] // self.num_slices


def shrink_launches(inputs: CsgmvShrinkArguments, config: Config) -> list[Launch]:
    """Returns the launch that writes every segment's product."""
    (tokens, k), batch = inputs.x.shape, inputs.batch
    if tokens == 0:
        return []
    c, columns = integers(config), inputs.a.shape[1]
    across = cdiv(columns, c["BLOCK_N"])
    told = segmentation(inputs.x, inputs.a, batch)
    taken = joined(told, wanted(c), across)
    args: tuple[Any, ...] = (
        inputs.x,
        inputs.a,
        inputs.out,
        batch.permutation,
        batch.seg_indptr,
        batch.weight_indices,
        batch.lora_ranks,
        batch.segments,
    )
    options: dict[str, Any] = {
        "K": k,
        "MAX_RANK": inputs.max_rank,
        "NUM_SLICES": inputs.num_slices,
        "RANK_ALIGNMENT": 1 if inputs.check_ranks else batch.rank_alignment,
        "BLOCK_M": batch.chunk_size * taken,
        # Blocks, and warps and stages where they are not left to Triton.
        **{name: c[name] for name in ("BLOCK_N", "BLOCK_K", "num_warps", "num_stages") if name in c},
    }
    grid: tuple[int, ...]
    if taken > 1:
        grid = (across, 2 * cdiv(batch.segments, taken))
        return [Launch(joined_shrink_kernel, grid, args, {**options, SEGMENTS: taken})]
    parts, space = parts_of_k(told, k, across), inputs.workspace
    if space is not None and parts > 1 and space.holds(parts * tokens * columns, batch.segments * across):
        grid, args = (across, told.most_used, parts), (*args, space.partials, space.arrivals, tokens)
        return [Launch(split_shrink_kernel, grid, args, {**options, "PARTS": parts})]
    grid = (across, told.blocks)
    return [Launch(csgmv_shrink_kernel, grid, args, {**options, "GOES_ON": told.goes_on})]


def csgmv_shrink(inputs: CsgmvShrinkArguments, config: Config | None = None) -> torch.Tensor:
    """Computes ``out[t, :S * r] = x[t] @ a[slot of t, :S * r].T`` for tokens whose adapter has rank r > 0.

    Semantics of SGLang's csgmv shrink (contracts B3); sums are fp32.

    Args:
        inputs: The arguments.
        config: Tile sizes as SGLang spells them; None takes what SGLang would use now (tuned file, else default).
    """
    if config is None:
        k, rank, slices = inputs.x.shape[1], inputs.max_rank, inputs.num_slices
        config = launching.lora_config("shrink", K=k, R=rank, S=slices, chunk_size=inputs.batch.chunk_size)
    for launch in shrink_launches(inputs, config):
        launch.run()
    return inputs.out
