"""What a thread block works on: the launch side (`Blocks`) and the kernel side of it, the same for all kernels here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import triton
import triton.language as tl

from autotune.kernels.common.tiles import cdiv
from autotune.kernels.fused_moe_lora.alignment import Alignment, align
from autotune.kernels.fused_moe_lora.problem import BLOCK_MS
from autotune.kernels.fused_moe_lora.routing import Routing


@triton.jit
def tile_of(pid, m_tiles, n_tiles, GROUP_M: tl.constexpr):  # type: ignore[no-untyped-def]
    """Returns the row and column of a tile; tiles run along M in bands of GROUP_M rows of tiles."""
    band = GROUP_M * n_tiles
    first_m = pid // band * GROUP_M
    band_m = min(m_tiles - first_m, GROUP_M)
    return first_m + pid % band % band_m, pid % band // band_m


@triton.jit
def owner_of(  # type: ignore[no-untyped-def]
    block,
    expert_ids_ptr,
    ends_ptr,
    loras_ptr,
    enabled_ptr,
    width,
    BLOCK_M: tl.constexpr,
    TOP_K: tl.constexpr,
    NAIVE: tl.constexpr,
):
    """Returns the adapter and expert of a block of rows, and whether there is anything to do."""
    if NAIVE:
        lora = tl.load(loras_ptr + block // TOP_K)
        slot = tl.maximum(lora, 0)
        expert = tl.load(expert_ids_ptr + block)
        live = lora >= 0
    else:
        lora = tl.load(loras_ptr + tl.program_id(2))
        slot = tl.maximum(lora, 0)
        expert = tl.load(expert_ids_ptr + slot * tl.cdiv(width, BLOCK_M) + block)
        live = (lora >= 0) & (block * BLOCK_M < tl.load(ends_ptr + slot))
    live = live & (expert >= 0) & (tl.load(enabled_ptr + slot) != 0)
    return slot.to(tl.int64), expert.to(tl.int64), live


@triton.jit
def pairs_of(block, slot, sorted_ids_ptr, pairs, width, BLOCK_M: tl.constexpr, NAIVE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Returns the pairs of a block's rows ``[BLOCK_M]``; `pairs` where there is none."""
    row = tl.arange(0, BLOCK_M)
    if NAIVE:
        return tl.where(row == 0, block, pairs)
    return tl.load(sorted_ids_ptr + slot * width + block * BLOCK_M + row)


@dataclass(frozen=True)
class Blocks:
    """One launch's rows: arguments and options that the kernels take, and the row part of the grid.

    Attributes:
        args: sorted ids, expert ids, ends, adapter ids, enabled, pairs, width; the order of the kernels' parameters.
        m_tiles: Blocks of rows an adapter, empty ones included.
        groups: Size of the grid along adapters.
    """

    args: tuple[Any, ...]
    options: Mapping[str, Any]
    m_tiles: int
    groups: int


@dataclass(frozen=True)
class Batch:
    """A batch and how its rows are cut into blocks; make it before a CUDA-graph capture, for that is not timed.

    Attributes:
        routing: The tokens' choices.
        naive: One block a pair, without an alignment.
        block_ms: Row blocks to align to.
        launched_groups: How many of the adapter ids, from the first on, a launch has blocks for; None for all of them.
        alignments: By block_m; empty if naive.
    """

    routing: Routing
    naive: bool
    block_ms: tuple[int, ...] = BLOCK_MS
    launched_groups: int | None = None
    alignments: dict[int, Alignment] = field(init=False)

    def __post_init__(self) -> None:
        sizes = () if self.naive else self.block_ms
        object.__setattr__(self, "alignments", {size: align(self.routing, size) for size in sizes})

    @classmethod
    def of_aligned(cls, routing: Routing, alignment: Alignment, launched_groups: int) -> Batch:
        """Returns the batch of an alignment that somebody else made."""
        batch = cls(routing, naive=False, block_ms=(), launched_groups=launched_groups)
        batch.alignments[alignment.block_m] = alignment
        return batch

    @property
    def groups(self) -> int:
        """Groups that a launch of sorted pairs has blocks for."""
        return self.routing.lora_ids.numel() if self.launched_groups is None else self.launched_groups

    def aligned(self, block_m: int) -> Alignment:
        """Returns the alignment to any block_m: one that no space has is made when it is first asked for."""
        if block_m not in self.alignments:
            self.alignments[block_m] = align(self.routing, block_m)
        return self.alignments[block_m]

    def blocks(self, block_m: int) -> Blocks:
        """Counts the blocks of `block_m` rows; a naive block has one row with a pair in it, however many it has.

        Raises:
            KeyError: If the batch was not aligned to block_m.
        """
        r = self.routing
        options = {"BLOCK_M": block_m, "TOP_K": r.top_k, "NAIVE": self.naive}
        if self.naive:
            # Neither sorted ids nor ends are read.
            args = (r.topk_ids, r.topk_ids, r.topk_ids, r.token_lora_mapping, r.enabled, r.pairs, r.pairs * block_m)
            return Blocks(args, options, r.pairs, 1)
        a = self.alignments[block_m]
        width = a.sorted_ids.shape[1]
        tables = (a.sorted_ids, a.expert_ids, a.num_tokens_post_padded, r.lora_ids, r.enabled)
        return Blocks((*tables, r.pairs, width), options, cdiv(width, block_m), self.groups)


def check_activations(x: torch.Tensor, out: torch.Tensor, op: str) -> None:
    """Raises ValueError unless x and the output are contiguous and of one type."""
    if not (x.is_contiguous() and out.is_contiguous() and out.dtype == x.dtype):
        raise ValueError(f"{op}: x and out must be contiguous and {x.dtype}")


def check_weights(weights: list[torch.Tensor], dtype: torch.dtype, op: str) -> None:
    """Raises ValueError unless all weights ``[L, E, rows, columns]`` have the type, equal strides and whole
    matrices."""
    first = weights[0]
    whole = first.stride(3) == 1 and first.stride(2) == first.shape[3]
    if not whole or any(w.dtype != dtype or w.stride() != first.stride() for w in weights):
        raise ValueError(f"{op}: the weights must be {dtype}, with contiguous matrices and equal strides")
