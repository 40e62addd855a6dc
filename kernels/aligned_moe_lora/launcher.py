"""Launches the one-shot kernel of `fused_moe_lora` with a config of its own, and not with vLLM's rule."""

from __future__ import annotations

from dataclasses import replace

import torch

from autotune.contract import Config, Launch
from autotune.kernels.common.tiles import integers
from autotune.kernels.fused_moe_lora.one_shot import MoeOneShotArguments, one_shot_launches


def aligned_launches(inputs: MoeOneShotArguments, config: Config) -> list[Launch]:
    """Returns the launch that does it all.

    Args:
        config: block_m, by which the rows are aligned, and the rest of the launch.
    """
    return [_with(launch, inputs, config) for launch in one_shot_launches(inputs, config)]


def aligned_moe_lora(inputs: MoeOneShotArguments, config: Config) -> torch.Tensor:
    """Computes ``out[t, j, slice s] (+)= weight * cast(x[row] @ a[s][..].T) @ b[s][adapter of t, expert j of t].T``.

    Semantics of vLLM's one-shot path (contracts A6): sums and the routing weight are fp32, the rank
    intermediate is cast to the type of the weights; rows of tokens without an adapter stay.
    """
    for launch in aligned_launches(inputs, config):
        launch.run()
    return inputs.out


def _with(launch: Launch, inputs: MoeOneShotArguments, config: Config) -> Launch:
    """Returns a launch by vLLM's rule with this config's tiles and thread blocks."""
    c = integers(config)
    *args, columns = launch.args
    blocks, slices, groups = launch.grid
    options = {
        **launch.options,
        "BLOCK_N": c["block_n"],
        "BLOCK_K": c["block_k"],
        "EVEN_K": inputs.a[0].shape[3] % c["block_k"] == 0,
        "num_warps": c["num_warps"],
        "num_stages": c["num_stages"],
    }
    grid = (blocks // columns * c["column_blocks"], slices, groups)
    return replace(launch, grid=grid, args=(*args, c["column_blocks"]), options=options)
