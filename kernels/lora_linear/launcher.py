"""Shrink and expand of one linear layer: arguments, workspace, and the one or two launches. Shapes: README.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from autotune.contract import Config, Launch
from autotune.kernels.common.dependent_launch import dependent_launch
from autotune.kernels.common.tiles import cdiv, integers, next_pow2, row_tiles
from autotune.kernels.lora_expand.launcher import LoraExpandArguments, output_options
from autotune.kernels.lora_linear.pair_kernel import ARRIVALS_STRIDE, lora_linear_kernel
from autotune.kernels.lora_linear.two_launches import expand_parts_kernel, shrink_parts_kernel
from autotune.kernels.lora_shrink.launcher import LoraShrinkArguments

_LEAST_ROWS = 16
"""Of a tile: what tensor cores take."""

_MOST_IDLE_TILES = 8
"""How many tiles of rows may find no tokens, where this spares the others the counting."""


@dataclass(frozen=True)
class PairWorkspace:
    """What the programs of a launch hand on to each other.

    One serves any number of launches that follow each other on one stream, of whatever shapes; launches that may run at
    the same time need one each. It must exist before a CUDA-graph capture and outlive the graph.

    Attributes:
        parts: ``[row tiles, S, split_k, block_m, R]`` of the largest launch, fp32; need no clearing.
        arrivals: Counters of single launches, int32, zero between them: each launch brings its own back to zero.
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


@dataclass(frozen=True)
class _Rows:
    """The tiles of rows of a pair.

    Attributes:
        tiles: How many.
        whole: Whether each group of tokens has one of all rows.
    """

    tiles: int
    whole: bool


def most_groups(m: int, max_loras: int, slices: int) -> int:
    """Returns the most (row tile, slice) groups that launches of up to m tokens can have, whatever their config."""
    return (row_tiles(m, max_loras, _LEAST_ROWS) + _MOST_IDLE_TILES) * slices


def _rows(arguments: LoraLinearArguments, c: Mapping[str, int]) -> _Rows:
    m, groups = arguments.shrink.x.shape[0], arguments.shrink.metadata.groups
    counted = row_tiles(m, min(groups, arguments.shrink.a[0].shape[0]), c["block_m"])
    if m <= c["block_m"] and groups <= counted + _MOST_IDLE_TILES:
        return _Rows(groups, whole=True)
    return _Rows(counted, whole=False)


def workspace_sizes(arguments: LoraLinearArguments, config: Config) -> tuple[int, int]:
    """Returns the elements of parts, and the groups, that a pair with this config needs."""
    c, (slices, _, rank) = integers(config), arguments.shrink.out.shape
    groups = _rows(arguments, c).tiles * slices
    return groups * c["split_k"] * c["block_m"] * rank, groups


def pair_launches(arguments: LoraLinearArguments, config: Config) -> list[Launch]:
    """Returns the launch, or the two, that add every adapter's product to its slice's columns.

    Raises:
        ValueError: If the workspace is too small for the config.
    """
    (slices, _, rank), c = arguments.shrink.out.shape, integers(config)
    if arguments.shrink.x.shape[0] == 0:
        return []
    parts, groups = workspace_sizes(arguments, config)
    space = arguments.workspace
    if space.parts.numel() < parts or space.arrivals.numel() < groups * ARRIVALS_STRIDE:
        raise ValueError(
            f"lora_linear: the workspace holds {space.parts.numel()} elements and "
            f"{space.arrivals.numel() // ARRIVALS_STRIDE} groups, {dict(config)} needs {parts} and {groups}"
        )
    expand, row_tiles_launched = arguments.expand, groups // slices
    shrinks = slices * c["split_k"] * cdiv(rank, c["block_r"])
    expands = sum(cdiv(width, c["block_n"]) for width in expand.widths)
    if c["launches"] == 2:
        return [
            _shrink_launch(arguments, c, (shrinks, row_tiles_launched)),
            _expand_launch(arguments, c, (expands, row_tiles_launched)),
        ]
    x, a, b, meta = arguments.shrink.rows, arguments.shrink.weights, arguments.expand.weights, _metadata(arguments)
    scaling, (k, n, out) = arguments.shrink.scaling, (x.shape[1], max(expand.widths), expand.out)
    args = (
        *(x, a, b, out, space.parts, space.arrivals, *meta, scaling),
        *(shrinks * row_tiles_launched, expands, k, n, x.stride(0), out.stride(0), expand.offset),
    )
    options = {**_common(arguments, c), **_of_shrink(arguments, c), **_of_expand(arguments, c)}
    grid = ((shrinks + expands) * row_tiles_launched,)
    return [Launch(lora_linear_kernel, grid, args, {**options, "ARRIVALS_STRIDE": ARRIVALS_STRIDE})]


def _shrink_launch(arguments: LoraLinearArguments, c: Mapping[str, int], grid: tuple[int, int]) -> Launch:
    x = arguments.shrink.rows
    args = (x, arguments.shrink.weights, arguments.workspace.parts, *_metadata(arguments), x.shape[1], x.stride(0))
    return Launch(shrink_parts_kernel, grid, args, {**_common(arguments, c), **_of_shrink(arguments, c)})


def _expand_launch(arguments: LoraLinearArguments, c: Mapping[str, int], grid: tuple[int, int]) -> Launch:
    expand, parts = arguments.expand, arguments.workspace.parts
    args = (
        *(arguments.expand.weights, expand.out, parts, *_metadata(arguments), arguments.shrink.scaling),
        *(max(expand.widths), expand.out.stride(0), expand.offset),
    )
    return Launch(expand_parts_kernel, grid, args, {**_common(arguments, c), **_of_expand(arguments, c)})


def _metadata(arguments: LoraLinearArguments) -> tuple[int | torch.Tensor, ...]:
    meta = arguments.shrink.metadata
    return (arguments.shrink.x.shape[0], meta.token_lora_mapping, *meta.launched_with)


def _common(arguments: LoraLinearArguments, c: Mapping[str, int]) -> dict[str, int | bool]:
    groups = arguments.shrink.metadata.lora_ids.numel()
    return {
        "RANK": arguments.shrink.out.shape[2],
        "GROUPS": groups,
        "GROUP_BLOCK": next_pow2(groups),
        "BLOCK_M": c["block_m"],
        "WHOLE": _rows(arguments, c).whole,
        "SPLIT_K": c["split_k"],
        "NUM_SLICES": len(arguments.expand.b),
        **dependent_launch(),
        "num_warps": c["num_warps"],
        "num_stages": c["num_stages"],
    }


def _of_shrink(arguments: LoraLinearArguments, c: Mapping[str, int]) -> dict[str, int | bool]:
    return {
        "BLOCK_K": c["block_k"],
        "BLOCK_R": c["block_r"],
        "WARPS": c["num_warps"],
        "EVEN_K": arguments.shrink.x.shape[1] % c["block_k"] == 0,
    }


def _of_expand(arguments: LoraLinearArguments, c: Mapping[str, int]) -> dict[str, int | bool]:
    rank = arguments.shrink.out.shape[2]
    return {"RANK_BLOCK": max(16, next_pow2(rank)), **output_options(arguments.expand, c)}
