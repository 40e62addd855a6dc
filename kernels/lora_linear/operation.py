"""The operation a server calls: the pair in one launch, or zeroing, shrink and expand apart."""

from __future__ import annotations

import torch

from autotune.contract import Config, Launch
from autotune.kernels.common.tiles import cdiv, next_pow2
from autotune.kernels.lora_expand.launcher import expand_launches, lora_expand
from autotune.kernels.lora_linear.launcher import LoraLinearArguments, pair_launches
from autotune.kernels.lora_shrink.launcher import lora_shrink, shrink_launches
from autotune.servers.vllm.linear import is_apart

_MOST_SPLITS = 64


def lora_linear(arguments: LoraLinearArguments, config: Config) -> torch.Tensor:
    """Computes ``out[t, slice s] (+)= cast(scaling * x[t] @ a[s][adapter of t].T) @ b[s][adapter of t].T``.

    Rows of tokens without an adapter stay. Semantics of shrink and expand one after the other (contracts A4).

    Args:
        arguments: Make them before a CUDA-graph capture.
        config: Tile sizes of the pair, or `APART`: three launches, with tiles that suit few tokens.
    """
    if arguments.shrink.x.shape[0] == 0 or arguments.shrink.metadata.no_lora:
        return arguments.expand.out
    if is_apart(config):
        lora_shrink(arguments.shrink, apart_shrink(arguments))
        return lora_expand(arguments.expand, apart_expand(arguments))
    for launch in pair_launches(arguments, config):
        launch.run()
    return arguments.expand.out


def linear_launches(arguments: LoraLinearArguments, config: Config) -> list[Launch]:
    """Returns the Triton launches of `lora_linear`."""
    if not is_apart(config):
        return pair_launches(arguments, config)
    shrink = shrink_launches(arguments.shrink, apart_shrink(arguments))
    return shrink + expand_launches(arguments.expand, apart_expand(arguments))


def apart_shrink(arguments: LoraLinearArguments) -> dict[str, int]:
    """Returns a config of shrink for few tokens: short K loops in as many programs as it takes to fill a GPU."""
    k, rank = arguments.shrink.x.shape[1], arguments.shrink.out.shape[2]
    block_k = 128
    return {
        "block_m": 16,
        "block_n": 16 if rank <= 16 else 32,
        "block_k": block_k,
        "split_k": min(_MOST_SPLITS, next_pow2(cdiv(k, block_k))),
        "num_warps": 2,
        "num_stages": 2,
        "num_ctas": 1,
        "group_size_m": 8,
    }


def apart_expand(arguments: LoraLinearArguments) -> dict[str, int]:
    """Returns a config of expand for few tokens: the whole rank in one step, narrow tiles."""
    rank = arguments.shrink.out.shape[2]
    return {
        "block_m": 16,
        "block_n": 128 if rank <= 64 else 64,
        "block_k": max(16, min(64, next_pow2(rank))),
        "num_warps": 8,
        "num_stages": 1,
        "num_ctas": 1,
    }
