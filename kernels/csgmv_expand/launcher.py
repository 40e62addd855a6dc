"""The csgmv expand kernel and the operation a server calls. Shapes: README.md."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from autotune.contract import Config, Launch
from autotune.kernels.common.chunks import ChunkedBatch, alignment
from autotune.kernels.common.tiles import cdiv, integers
from autotune.servers.sglang import launching

_WALKED_ROWS = 128
_WALKED_CHUNKS = 4
"""What a thread block walks through with its weights in hand, one chunk after the other: this many rows or chunks."""

_ENOUGH_BLOCKS = 2048
"""Thread blocks that keep a GPU evenly busy; with fewer, each walks through less."""


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
    """Returns the addresses of a chunk's rows in x ``[BM, BK]`` and in the output ``[BM, BN]``, and which of them there
    are."""
    offs_m = tl.arange(0, BLOCK_M)
    in_m = first + offs_m < end
    token = tl.load(permutation_ptr + first + offs_m, mask=in_m, other=0).to(tl.int64)
    x_ptrs = x_ptr + token[:, None] * X_STRIDE + tl.arange(0, BLOCK_K)[None, :]
    out_ptrs = out_ptr + token[:, None] * OUT_STRIDE + tl.arange(0, BLOCK_N)[None, :]
    return x_ptrs, out_ptrs, in_m[:, None]


@triton.jit
def _one_chunk(  # type: ignore[no-untyped-def]
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
    """Computes rows `start` to `end`, a chunk at most, in as many K steps as it takes."""
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
def _many_chunks(  # type: ignore[no-untyped-def]
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
    """Computes rows `start` to `end`, chunk by chunk, in one K step each: the weights stay, the next chunk is under
    way."""
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


@triton.jit
def _chunks(  # type: ignore[no-untyped-def]
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
    """Computes rows `start` to `end`: a chunk at most, or with WALK > 1 many."""
    slice_x_ptr = x_ptr + slice_id * rank
    if WALK == 1:
        _one_chunk(
            slice_x_ptr, b_ptrs, out_ptr, permutation_ptr, start, end, rank, scaling, in_n,
            X_STRIDE, OUT_STRIDE, MAX_RANK, BLOCK_M, BLOCK_N, BLOCK_K,
        )  # fmt: skip
    else:
        _many_chunks(
            slice_x_ptr, b_ptrs, out_ptr, permutation_ptr, start, end, rank, scaling, in_n,
            X_STRIDE, OUT_STRIDE, BLOCK_M, BLOCK_N, BLOCK_K,
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
    WALK: tl.constexpr,
    MASK_N: tl.constexpr,
    CHECK_RANK: tl.constexpr,
):
    X_STRIDE: tl.constexpr = NUM_SLICES * MAX_RANK
    tile = tl.program_id(0)
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
    offs_k = tl.arange(0, BLOCK_K)
    in_n = (offs_n < slice_end)[None, :] if MASK_N else tl.full([1, BLOCK_N], True, tl.int1)
    out_ptr += column

    # A block has WALK segments: it takes them as one if they are of one adapter, else one after the other.
    segment = tl.program_id(1) * WALK
    last = segment + 1
    step = 1
    if WALK > 1:
        last = tl.minimum(segment + WALK, segments)
        slots = tl.load(weight_indices_ptr + tl.minimum(segment + tl.arange(0, WALK), segments - 1))
        step = tl.where(tl.min(slots) == tl.max(slots), WALK, 1)
    for first in range(segment, last, step):
        start = tl.load(seg_indptr_ptr + first)
        end = tl.load(seg_indptr_ptr + (first + 1 if WALK == 1 else tl.minimum(first + step, segments)))
        slot = tl.load(weight_indices_ptr + first).to(tl.int64)
        rank = tl.multiple_of(tl.load(lora_ranks_ptr + slot), 1 if CHECK_RANK else RANK_ALIGNMENT)
        if (start < end) & (rank > 0):
            scaling = tl.load(scalings_ptr + slot)
            slot_ptr = b_ptr + slot * (SLICE_OFFSETS[NUM_SLICES] * MAX_RANK)
            b_ptrs = slot_ptr + offs_n[None, :] * MAX_RANK + offs_k[:, None]  # [BK, BN]
            if CHECK_RANK:
                # What the compiler can see to be a multiple.
                aligned = rank // RANK_ALIGNMENT * RANK_ALIGNMENT
                if aligned == rank:
                    _chunks(
                        x_ptr, b_ptrs, out_ptr, permutation_ptr, start, end, slice_id, aligned, scaling, in_n,
                        X_STRIDE, OUT_STRIDE, MAX_RANK, BLOCK_M, BLOCK_N, BLOCK_K, WALK,
                    )  # fmt: skip
                else:
                    _chunks(
                        x_ptr, b_ptrs, out_ptr, permutation_ptr, start, end, slice_id, rank, scaling, in_n,
                        X_STRIDE, OUT_STRIDE, MAX_RANK, BLOCK_M, BLOCK_N, BLOCK_K, WALK,
                    )  # fmt: skip
            else:
                _chunks(
                    x_ptr, b_ptrs, out_ptr, permutation_ptr, start, end, slice_id, rank, scaling, in_n,
                    X_STRIDE, OUT_STRIDE, MAX_RANK, BLOCK_M, BLOCK_N, BLOCK_K, WALK,
                )  # fmt: skip


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
    walk = _walk(inputs, tile_offsets[-1]) if c["BLOCK_K"] >= rank else 1
    args = (
        inputs.x,
        inputs.b,
        inputs.out,
        batch.permutation,
        batch.seg_indptr,
        batch.weight_indices,
        batch.lora_ranks,
        batch.scalings,
        batch.segments,
    )
    options: dict[str, Any] = {
        "OUT_STRIDE": inputs.out.stride(0),
        "MAX_RANK": rank,
        "RANK_ALIGNMENT": batch.rank_alignment,
        "NUM_SLICES": len(inputs.slice_widths),
        "SLICE_OFFSETS": inputs.slice_offsets,
        "TILE_OFFSETS": tile_offsets,
        "COLUMN_ALIGNMENT": alignment(inputs.slice_widths),
        "BLOCK_M": batch.chunk_size,
        "WALK": walk,
        "MASK_N": any(width % c["BLOCK_N"] for width in inputs.slice_widths),
        "CHECK_RANK": inputs.check_ranks,
        # Blocks, and what else is not left to Triton.
        **{name: c[name] for name in ("BLOCK_N", "BLOCK_K", "num_warps", "num_stages", "maxnreg") if name in c},
    }
    return [Launch(csgmv_expand_kernel, (tile_offsets[-1], cdiv(batch.segments, walk)), args, options)]


def _walk(inputs: CsgmvExpandArguments, tiles: int) -> int:
    """Returns how many segments a block takes: several where they are full and plenty, so that weights are reread less.

    Decode batches have segments of few tokens, each with an adapter of its own: those are best left side by side.
    """
    batch = inputs.batch
    filled = 2 * inputs.x.shape[0] >= batch.segments * batch.chunk_size
    if not filled:
        return 1
    walk = max(_WALKED_CHUNKS, _WALKED_ROWS // batch.chunk_size)
    while walk > 1 and tiles * cdiv(batch.segments, walk) < _ENOUGH_BLOCKS:
        walk //= 2
    return walk


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
