"""The csgmv expand kernel and the operation a server calls. Shapes: README.md."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from autotune.contract import Config, Launch
from autotune.kernels.common.adapter_runs import adapter_end, neighbours, row_adapter
from autotune.kernels.common.chunks import ChunkedBatch, alignment, segmentation
from autotune.kernels.common.next_segment import next_segment
from autotune.kernels.common.tiles import cdiv, integers
from autotune.kernels.csgmv_expand.steps import many_steps, one_step
from autotune.kernels.csgmv_expand.walking import STEP_ROWS, is_one_step, step_rows, walk
from autotune.servers.sglang import launching
from autotune.servers.sglang.facts import TRITON_DEFAULTS


@triton.jit
def _of_rank(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptrs,
    out_ptr,
    permutation_ptr,
    start,
    end,
    slice_id,
    rank,
    scaling,
    in_n,
    X_STRIDE: tl.constexpr,
    OUT_STRIDE: tl.constexpr,
    MAX_RANK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    WALK: tl.constexpr,
):
    """Computes rows `start` to `end` of an adapter: BLOCK_M at most, or with WALK as many as there are."""
    slice_x_ptr = x_ptr + slice_id * rank
    if WALK:
        many_steps(
            slice_x_ptr, b_ptrs, out_ptr, permutation_ptr, start, end, rank, scaling, in_n,
            X_STRIDE, OUT_STRIDE, BLOCK_M, BLOCK_N, BLOCK_K,
        )  # fmt: skip
    else:
        one_step(
            slice_x_ptr, b_ptrs, out_ptr, permutation_ptr, start, end, rank, scaling, in_n,
            X_STRIDE, OUT_STRIDE, MAX_RANK, BLOCK_M, BLOCK_N, BLOCK_K,
        )  # fmt: skip


@triton.jit
def _of_adapter(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptr,
    out_ptr,
    permutation_ptr,
    lora_ranks_ptr,
    scalings_ptr,
    start,
    end,
    slot,
    tile,
    OUT_STRIDE: tl.constexpr,
    MAX_RANK: tl.constexpr,
    RANK_ALIGNMENT: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    SLICE_OFFSETS: tl.constexpr,
    TILE_OFFSETS: tl.constexpr,
    COLUMN_ALIGNMENT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    MASK_N: tl.constexpr,
    CHECK_RANK: tl.constexpr,
    WALK: tl.constexpr,
):
    """Computes one tile of columns of rows `start` to `end`, which are all of one adapter."""
    X_STRIDE: tl.constexpr = NUM_SLICES * MAX_RANK
    rank = tl.multiple_of(tl.load(lora_ranks_ptr + slot), 1 if CHECK_RANK else RANK_ALIGNMENT)
    if rank > 0:
        slice_id = tile * 0
        column = tile * BLOCK_N
        slice_end = slice_id + SLICE_OFFSETS[1]
        for s in tl.static_range(1, NUM_SLICES):
            behind = tile >= TILE_OFFSETS[s]
            slice_id = tl.where(behind, s, slice_id)
            column = tl.where(behind, SLICE_OFFSETS[s] + (tile - TILE_OFFSETS[s]) * BLOCK_N, column)
            slice_end = tl.where(behind, SLICE_OFFSETS[s + 1], slice_end)
        column = tl.multiple_of(column, COLUMN_ALIGNMENT)
        offs_n = column + tl.arange(0, BLOCK_N)
        in_n = (offs_n < slice_end)[None, :] if MASK_N else tl.full([1, BLOCK_N], True, tl.int1)
        out_ptr += column
        scaling = tl.load(scalings_ptr + slot)
        slot_ptr = b_ptr + slot * (SLICE_OFFSETS[NUM_SLICES] * MAX_RANK)
        b_ptrs = slot_ptr + offs_n[None, :] * MAX_RANK + tl.arange(0, BLOCK_K)[:, None]  # [BK, BN]
        if CHECK_RANK:
            # What the compiler can see to be a multiple.
            aligned = rank // RANK_ALIGNMENT * RANK_ALIGNMENT
            if aligned == rank:
                _of_rank(
                    x_ptr, b_ptrs, out_ptr, permutation_ptr, start, end, slice_id, aligned, scaling, in_n,
                    X_STRIDE, OUT_STRIDE, MAX_RANK, BLOCK_M, BLOCK_N, BLOCK_K, WALK,
                )  # fmt: skip
            else:
                _of_rank(
                    x_ptr, b_ptrs, out_ptr, permutation_ptr, start, end, slice_id, rank, scaling, in_n,
                    X_STRIDE, OUT_STRIDE, MAX_RANK, BLOCK_M, BLOCK_N, BLOCK_K, WALK,
                )  # fmt: skip
        else:
            _of_rank(
                x_ptr, b_ptrs, out_ptr, permutation_ptr, start, end, slice_id, rank, scaling, in_n,
                X_STRIDE, OUT_STRIDE, MAX_RANK, BLOCK_M, BLOCK_N, BLOCK_K, WALK,
            )  # fmt: skip


@triton.jit
def _of_segment(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptr,
    out_ptr,
    permutation_ptr,
    seg_indptr_ptr,
    weight_indices_ptr,
    lora_ranks_ptr,
    scalings_ptr,
    segment,
    OUT_STRIDE: tl.constexpr,
    MAX_RANK: tl.constexpr,
    RANK_ALIGNMENT: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    SLICE_OFFSETS: tl.constexpr,
    TILE_OFFSETS: tl.constexpr,
    COLUMN_ALIGNMENT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    MASK_N: tl.constexpr,
    CHECK_RANK: tl.constexpr,
    WALK: tl.constexpr,
):
    """Computes one tile of columns of a segment, if it has rows."""
    start = tl.load(seg_indptr_ptr + segment)
    end = tl.load(seg_indptr_ptr + segment + 1)
    slot = tl.load(weight_indices_ptr + segment).to(tl.int64)
    if start < end:
        _of_adapter(
            x_ptr, b_ptr, out_ptr, permutation_ptr, lora_ranks_ptr, scalings_ptr, start, end, slot, tl.program_id(0),
            OUT_STRIDE, MAX_RANK, RANK_ALIGNMENT, NUM_SLICES, SLICE_OFFSETS, TILE_OFFSETS, COLUMN_ALIGNMENT,
            BLOCK_M, BLOCK_N, BLOCK_K, MASK_N, CHECK_RANK, WALK,
        )  # fmt: skip


@triton.jit(do_not_specialize=["segments"])  # batches of any size share a compiled kernel
def csgmv_expand_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptr,
    out_ptr,
    permutation_ptr,
    seg_indptr_ptr,
    weight_indices_ptr,
    lora_ranks_ptr,
    scalings_ptr,
    segments,
    OUT_STRIDE: tl.constexpr,
    MAX_RANK: tl.constexpr,
    RANK_ALIGNMENT: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    SLICE_OFFSETS: tl.constexpr,
    TILE_OFFSETS: tl.constexpr,
    COLUMN_ALIGNMENT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    MASK_N: tl.constexpr,
    CHECK_RANK: tl.constexpr,
    WALK: tl.constexpr,
    GOES_ON: tl.constexpr,
):
    """A block takes a segment. With GOES_ON the grid need not have a block for each: a block goes on to the segment as
    many places behind, until the batch ends."""
    segment = tl.program_id(1)
    if not GOES_ON:
        _of_segment(
            x_ptr, b_ptr, out_ptr, permutation_ptr, seg_indptr_ptr, weight_indices_ptr, lora_ranks_ptr, scalings_ptr,
            segment, OUT_STRIDE, MAX_RANK, RANK_ALIGNMENT, NUM_SLICES, SLICE_OFFSETS, TILE_OFFSETS, COLUMN_ALIGNMENT,
            BLOCK_M, BLOCK_N, BLOCK_K, MASK_N, CHECK_RANK, WALK,
        )  # fmt: skip
    else:
        batch_end = tl.load(seg_indptr_ptr + segments)
        start = tl.load(seg_indptr_ptr + segment)
        while start < batch_end:
            following, following_start = next_segment(segment, segments, seg_indptr_ptr)
            _of_segment(
                x_ptr, b_ptr, out_ptr, permutation_ptr, seg_indptr_ptr, weight_indices_ptr, lora_ranks_ptr,
                scalings_ptr, segment, OUT_STRIDE, MAX_RANK, RANK_ALIGNMENT, NUM_SLICES, SLICE_OFFSETS, TILE_OFFSETS,
                COLUMN_ALIGNMENT, BLOCK_M, BLOCK_N, BLOCK_K, MASK_N, CHECK_RANK, WALK,
            )  # fmt: skip
            segment, start = following, following_start


@triton.jit(do_not_specialize=["segments", "parts", "rows"])  # batches of any size share a compiled kernel
def walking_expand_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    b_ptr,
    out_ptr,
    permutation_ptr,
    seg_indptr_ptr,
    weight_indices_ptr,
    lora_ranks_ptr,
    scalings_ptr,
    segments,
    parts,
    rows,
    OUT_STRIDE: tl.constexpr,
    MAX_RANK: tl.constexpr,
    RANK_ALIGNMENT: tl.constexpr,
    NUM_SLICES: tl.constexpr,
    SLICE_OFFSETS: tl.constexpr,
    TILE_OFFSETS: tl.constexpr,
    COLUMN_ALIGNMENT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    MASK_N: tl.constexpr,
    CHECK_RANK: tl.constexpr,
    SEGMENTS: tl.constexpr,
):
    """A block takes SEGMENTS neighbouring segments, or `rows` rows of one that `parts` blocks share, adapter by
    adapter."""
    block = tl.program_id(1)
    first_segment = block // parts * SEGMENTS
    starts, ends, slots = neighbours(first_segment, segments, seg_indptr_ptr, weight_indices_ptr, SEGMENTS)
    start = tl.min(starts) + block % parts * rows
    last = tl.minimum(start + rows, tl.max(ends))
    while start < last:
        slot = row_adapter(start, starts, ends, slots).to(tl.int64)
        end = adapter_end(start, last, starts, ends, slots)
        _of_adapter(
            x_ptr, b_ptr, out_ptr, permutation_ptr, lora_ranks_ptr, scalings_ptr, start, end, slot, tl.program_id(0),
            OUT_STRIDE, MAX_RANK, RANK_ALIGNMENT, NUM_SLICES, SLICE_OFFSETS, TILE_OFFSETS, COLUMN_ALIGNMENT,
            BLOCK_M, BLOCK_N, BLOCK_K, MASK_N, CHECK_RANK, True,
        )  # fmt: skip
        start = end


@dataclass(frozen=True)
class CsgmvExpandArguments:
    """Arguments of one call.

    Attributes:
        x: ``[T, S * R]`` fp16 or bf16, contiguous; slice s of an adapter of rank r starts at column s * r.
        b: ``[slots, N, R]``, contiguous, type of x; N is the sum of the slices' widths.
        out: ``[T, N]`` or wider, rows contiguous, type of x; added to.
        batch: Which tokens use which adapter.
        slice_widths: Rows of each slice in `b`, columns in `out`.
        check_ranks: The host does not know the ranks, or not those of a later batch that a graph is replayed with: the
            kernel looks whether the batch's `rank_alignment` holds, and takes a slower way where it does not.
    """

    x: torch.Tensor
    b: torch.Tensor
    out: torch.Tensor
    batch: ChunkedBatch
    slice_widths: tuple[int, ...]
    check_ranks: bool = False

    def __post_init__(self) -> None:
        if not (self.x.is_contiguous() and self.b.is_contiguous() and self.x.dtype == self.b.dtype == self.out.dtype):
            raise ValueError(f"csgmv_expand: x and b must be contiguous, all of one type; x is {self.x.dtype}")
        if self.out.stride(1) != 1:
            raise ValueError(f"csgmv_expand: out must have contiguous rows, got strides {self.out.stride()}")

    @property
    def slice_offsets(self) -> tuple[int, ...]:
        """Where each slice starts, and where the last one ends."""
        return (0, *itertools.accumulate(self.slice_widths))


def expand_launches(inputs: CsgmvExpandArguments, config: Config) -> list[Launch]:
    """Returns the launch that adds every segment's product, to every slice's columns."""
    if inputs.x.shape[0] == 0:
        return []
    c, batch, rank = integers(config), inputs.batch, inputs.b.shape[2]
    tile_offsets = (0, *itertools.accumulate(cdiv(width, c["BLOCK_N"]) for width in inputs.slice_widths))
    args = (
        inputs.x,
        inputs.b,
        inputs.out,
        batch.permutation,
        batch.seg_indptr,
        batch.weight_indices,
        batch.lora_ranks,
        batch.scalings,
    )
    options: dict[str, Any] = {
        "OUT_STRIDE": inputs.out.stride(0),
        "MAX_RANK": rank,
        "RANK_ALIGNMENT": batch.rank_alignment,
        "NUM_SLICES": len(inputs.slice_widths),
        "SLICE_OFFSETS": inputs.slice_offsets,
        "TILE_OFFSETS": tile_offsets,
        "COLUMN_ALIGNMENT": alignment(inputs.slice_widths),
        "MASK_N": any(width % c["BLOCK_N"] for width in inputs.slice_widths),
        "CHECK_RANK": inputs.check_ranks,
        # Blocks, and what else is not left to Triton.
        **{name: c[name] for name in ("BLOCK_N", "BLOCK_K", "num_warps", "num_stages", "maxnreg") if name in c},
    }
    tiles, warps = tile_offsets[-1], c.get("num_warps", TRITON_DEFAULTS["num_warps"])
    told = segmentation(inputs.x, inputs.b, batch)
    block = walk(told, tiles, warps) if is_one_step(config, rank) else None
    if block is None:
        rows, blocks = step_rows(config, rank, batch.chunk_size), told.blocks
        options |= {"BLOCK_M": rows, "WALK": rows < batch.chunk_size, "GOES_ON": told.goes_on}
        return [Launch(csgmv_expand_kernel, (tiles, blocks), (*args, batch.segments), options)]
    grid = (tiles, cdiv(batch.segments, block.segments) * block.parts)
    most_rows = batch.chunk_size * block.segments // block.parts
    options |= {"BLOCK_M": STEP_ROWS, "SEGMENTS": block.segments}
    return [Launch(walking_expand_kernel, grid, (*args, batch.segments, block.parts, most_rows), options)]


def csgmv_expand(inputs: CsgmvExpandArguments, config: Config | None = None) -> torch.Tensor:
    """Computes ``out[t, slice s] += scaling * x[t, s * r : s * r + r] @ b[slot of t, slice s, :r].T``, for rank r > 0.

    Semantics of SGLang's csgmv expand (contracts B3); sums are fp32, then rounded, then added.

    Args:
        inputs: The arguments.
        config: Tile sizes as SGLang spells them; None takes what SGLang would use now (tuned file, else default).
    """
    if config is None:
        (_, n, rank), slices = inputs.b.shape, len(inputs.slice_widths)
        config = launching.lora_config("expand", K=n, R=rank, S=slices, chunk_size=inputs.batch.chunk_size)
    for launch in expand_launches(inputs, config):
        launch.run()
    return inputs.out
