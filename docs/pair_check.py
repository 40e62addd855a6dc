"""Checks `lora_linear` under graph replay: with other adapters than were captured, with fewer tokens, with none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from autotune.contract import Config
from autotune.contract.space import Space
from autotune.environment import current_gpu
from autotune.kernels.common.metadata import LoraMetadata, random_mapping
from autotune.kernels.lora_linear.kernel import LoraLinear
from autotune.kernels.lora_linear.launcher import LoraLinearArguments, pair_launches
from pair_layers import ADAPTERS, Layer

_KERNEL = LoraLinear()
_CHECKED_CONFIGS = 4


def check(layer: Layer, m: int, dtype: str) -> dict[str, Any]:
    """Captures one launch a config, and replays it over other tokens than it was captured with."""
    problem = layer.problem(m, dtype)
    inputs = _KERNEL.make_inputs(problem, "cuda", 1)
    configs = Space.build(_KERNEL, problem, current_gpu(), "wide").configs[1:]
    worst, failed, checked = 0.0, [], 0
    for config in configs[:: max(1, len(configs) // _CHECKED_CONFIGS)]:
        try:
            graph = captured(partial(launch, inputs.arguments, config))
        except Exception as failure:
            failed.append([dict(config), f"{type(failure).__name__}: {failure}"[:200]])
            continue
        checked += 1
        for seed, tokens in ((2, m), (3, max(1, m // 2)), (4, 0), (5, m)):
            refill(inputs.arguments.shrink.metadata, m, tokens, seed)
            _KERNEL.poison(inputs)
            expected = _KERNEL.reference(inputs, torch.float64)
            graph.replay()
            error = (inputs.arguments.expand.out.double() - expected.value).abs()
            ratio = float((error / expected.bound(config).clamp_min(1e-300)).max())
            worst = max(worst, ratio)
            if not ratio <= 1 or int(inputs.arguments.workspace.arrivals.abs().sum()):
                failed.append([dict(config), f"tokens {tokens}: error ratio {ratio}"])
    return {"layer": layer.name, "m": m, "dtype": dtype, "configs": checked, "worst_ratio": worst, "failed": failed[:6]}


def refill(metadata: LoraMetadata, m: int, tokens: int, seed: int) -> None:
    """Writes other tokens into the metadata of a capture: so many of m have an adapter at all."""
    generator = torch.Generator().manual_seed(seed)
    mapping = random_mapping(m, m - tokens, min(ADAPTERS, 1 + seed % ADAPTERS), ADAPTERS, generator) if tokens else None
    built = LoraMetadata.build(torch.full((m,), -1) if mapping is None else mapping, ADAPTERS, "cuda")
    for name in (
        "token_lora_mapping",
        "token_indices_sorted_by_lora_ids",
        "num_tokens_per_lora",
        "lora_token_start_loc",
        "lora_ids",
    ):
        getattr(metadata, name).copy_(getattr(built, name))


def captured(operation: Callable[[], object]) -> torch.cuda.CUDAGraph:
    operation()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        operation()
    return graph


def launch(arguments: LoraLinearArguments, config: Config) -> None:
    for each in pair_launches(arguments, config):
        each.run()
