"""Shrink and expand of one linear layer: arguments, workspace, and the launch that does both. Shapes: README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from autotune.contract import Config, Launch
from autotune.kernels.common.dependent_launch import dependent_launch
from autotune.kernels.common.tiles import cdiv, integers, next_pow2, row_tiles
from autotune.kernels.lora_expand.launcher import LoraExpandArguments
from autotune.kernels.lora_linear.pair_kernel import ARRIVALS_STRIDE, lora_linear_kernel
from autotune.kernels.lora_shrink.launcher import LoraShrinkArguments

_ALIGNED_COLUMNS = 16
_PREFETCHED_PER_WARP = 1024
"""Output elements a warp may load before it waits; more would cost too many registers."""


@dataclass(frozen=True)
class PairWorkspace:
    """What the programs of a launch hand on to each other.

    One serves any number of launches that follow each other on one stream, of whatever shapes; launches that may run at
    the same time need one each. It must exist before a CUDA-graph capture and outlive the graph.

    Attributes:
        parts: ``[row tiles, S, split_k, block_m, R]`` of the largest launch, fp32; need no clearing.
        arrivals: Counters, int32, zero between launches: each launch brings its own back to zero.
    """

    parts: torch.Tensor
    arrivals: torch.Tensor

    @classmethod
    def make(cls, parts: int, groups: int, device: torch.device | str) -> PairWorkspace:
        """Allocates room for so many elements of parts, and counters for so many (row tile, slice) groups."""
        return cls(
            torch.empty(parts, dtype=torch.float32, device=device),
            torch.zeros(groups * ARRIVALS_STRIDE, dtype=torch.int32, device=device),
        )


@dataclass(frozen=True)
class LoraLinearArguments:
    """Arguments of one call: those of the two ops that it does.

    Attributes:
        shrink: With x ``[M, K]``, A and the buffer ``[S, M, R]``, which only the two ops apart use.
        expand: With that buffer as x, B and the output.
    """

    shrink: LoraShrinkArguments
    expand: LoraExpandArguments
    workspace: PairWorkspace

    def __post_init__(self) -> None:
        slices, _, rank = self.shrink.out.shape
        if len(self.expand.b) != slices or any(b.shape[-1] != rank for b in self.expand.b):
            raise ValueError(
                f"lora_linear: B must be {slices} weights of rank {rank}, as A is, "
                f"got {[tuple(b.shape) for b in self.expand.b]}"
            )


def workspace_sizes(arguments: LoraLinearArguments, config: Config) -> tuple[int, int]:
    """Returns the elements of parts, and the groups, that a launch with this config needs."""
    c, (slices, m, rank) = integers(config), arguments.shrink.out.shape
    groups = row_tiles(m, arguments.shrink.a[0].shape[0], c["block_m"]) * slices
    return groups * c["split_k"] * c["block_m"] * rank, groups


def pair_launches(arguments: LoraLinearArguments, config: Config) -> list[Launch]:
    """Returns the launch that adds every adapter's product to its slice's columns.

    Raises:
        ValueError: If the workspace is too small for the config.
    """
    (m, k), (slices, _, rank) = arguments.shrink.x.shape, arguments.shrink.out.shape
    if m == 0:
        return []
    c, shrink, expand = integers(config), arguments.shrink, arguments.expand
    parts, groups = workspace_sizes(arguments, config)
    space = arguments.workspace
    if space.parts.numel() < parts or space.arrivals.numel() < groups * ARRIVALS_STRIDE:
        raise ValueError(
            f"lora_linear: the workspace holds {space.parts.numel()} elements and "
            f"{space.arrivals.numel() // ARRIVALS_STRIDE} groups, {dict(config)} needs {parts} and {groups}"
        )
    x, meta, n = shrink.x if shrink.x.stride(1) == 1 else shrink.x.contiguous(), shrink.metadata, max(expand.widths)
    column_tiles = sum(cdiv(width, c["block_n"]) for width in expand.widths)
    shrink_programs = groups * c["split_k"] * cdiv(rank, c["block_r"])
    args = (
        x,
        shrink.a[0] if shrink.table is None else shrink.table,
        expand.b[0] if expand.table is None else expand.table,
        expand.out,
        space.parts,
        space.arrivals,
        meta.token_indices_sorted_by_lora_ids,
        meta.num_tokens_per_lora,
        meta.lora_token_start_loc,
        meta.lora_ids,
        shrink.scaling,
        shrink_programs,
        column_tiles,
        k,
        n,
        x.stride(0),
        expand.out.stride(0),
        expand.offset,
    )
    grid = (shrink_programs + groups // slices * column_tiles,)
    return [Launch(lora_linear_kernel, grid, args, _options(arguments, c))]


def _options(arguments: LoraLinearArguments, c: Mapping[str, int]) -> dict[str, int | bool]:
    expand, meta = arguments.expand, arguments.shrink.metadata
    rank, groups = arguments.shrink.out.shape[2], meta.lora_ids.numel()
    return {
        "RANK": rank,
        "GROUPS": groups,
        "GROUP_BLOCK": next_pow2(groups),
        "BLOCK_M": c["block_m"],
        "BLOCK_N": c["block_n"],
        "BLOCK_K": c["block_k"],
        "BLOCK_R": c["block_r"],
        "RANK_BLOCK": max(16, next_pow2(rank)),
        "SPLIT_K": c["split_k"],
        "WARPS": c["num_warps"],
        "NUM_SLICES": len(expand.b),
        "SAME_WIDTH": expand.same_width,
        "ALIGNED": all(column % _ALIGNED_COLUMNS == 0 for column in [*expand.widths, *expand.columns]),
        "EVEN_K": arguments.shrink.x.shape[1] % c["block_k"] == 0,
        "ADD_INPUTS": expand.add_inputs,
        "PREFETCH": c["block_m"] * c["block_n"] <= _PREFETCHED_PER_WARP * c["num_warps"],
        "ARRIVALS_STRIDE": ARRIVALS_STRIDE,
        **dependent_launch(),
        "num_warps": c["num_warps"],
        "num_stages": c["num_stages"],
    }
