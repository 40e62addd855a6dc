"""The operation a server calls: the pair, or zeroing, shrink and expand apart."""

from __future__ import annotations

import torch

from autotune.contract import Config, Launch
from autotune.kernels.lora_expand.defaults import default_config as expand_default
from autotune.kernels.lora_expand.launcher import expand_launches, lora_expand
from autotune.kernels.lora_linear.launcher import LoraLinearArguments, pair_launches
from autotune.kernels.lora_shrink.defaults import default_config as shrink_default
from autotune.kernels.lora_shrink.launcher import lora_shrink, shrink_launches
from autotune.servers.vllm.linear import is_apart


def lora_linear(arguments: LoraLinearArguments, config: Config) -> torch.Tensor:
    """Computes ``out[t, slice s] (+)= cast(scaling * x[t] @ a[s][adapter of t].T) @ b[s][adapter of t].T``.

    Rows of tokens without an adapter stay. Semantics of shrink and expand one after the other (contracts A4).

    Args:
        arguments: Make them before a CUDA-graph capture.
        config: Tile sizes of the pair, or `APART`: three launches, with the defaults of shrink and expand.
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


def apart_shrink(arguments: LoraLinearArguments) -> Config:
    """Returns what the shrink runs with, where nothing was tuned for it."""
    (m, k), (slices, _, rank) = arguments.shrink.x.shape, arguments.shrink.out.shape
    return shrink_default(m, k, rank, slices, arguments.shrink.metadata.groups)


def apart_expand(arguments: LoraLinearArguments) -> Config:
    """Returns what the expand runs with, where nothing was tuned for it."""
    slices, m, rank = arguments.shrink.out.shape
    return expand_default(m, rank, max(arguments.expand.widths), slices)
