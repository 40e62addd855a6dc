"""Races configs of `lora_linear` against the three launches that it replaces: zeroing, shrink and expand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

from autotune.contract import Call, Config, Launch
from autotune.environment import current_gpu
from autotune.kernels.lora_expand import lora_expand
from autotune.kernels.lora_linear import space
from autotune.kernels.lora_linear.execution import LinearInputs
from autotune.kernels.lora_linear.kernel import LoraLinear
from autotune.kernels.lora_linear.launcher import LoraLinearArguments
from autotune.kernels.lora_linear.operation import apart_expand, apart_shrink
from autotune.kernels.lora_linear.problem import LoraLinearProblem
from autotune.kernels.lora_shrink import lora_shrink
from autotune.measure.timing import CudaGraphTimer
from autotune.servers.plugin import warm_up
from autotune.servers.vllm import facts
from autotune.servers.vllm.server import VLLM
from pair_check import launch, refill
from pair_layers import MS, Layer

_KERNEL = LoraLinear()
CANDIDATES = (
    (128, 256, 16, 4, 2),
    (128, 256, 16, 4, 1),
    (128, 512, 8, 4, 1),
    (256, 512, 8, 8, 1),
    (64, 256, 16, 2, 2),
    (64, 128, 32, 1, 2),
    (128, 128, 32, 2, 1),
    (128, 512, 16, 4, 2),
    (128, 1024, 4, 8, 1),
    (256, 256, 16, 4, 2),
)
"""block_n, block_k, split_k, num_warps, num_stages; each in one launch and in two."""
_ROTATION_BYTES = 150_000_000
_MOST_SETS = 64
_ROUNDS = 15
_GRAPH_US = 500.0


def candidates(layer: Layer) -> list[Config]:
    """Returns some configs of the pair, from few long programs to many short ones, that this layer's space holds."""
    found: list[Config] = []
    for block_n, block_k, split_k, warps, stages in CANDIDATES:
        for block_r, launches in itertools.product((16, 64), (1, 2)):
            sizes = (16, block_n, block_k, block_r, split_k, warps, stages, launches)
            config = dict(zip(facts.LINEAR_KEYS, sizes, strict=True))
            if space.infeasible(layer.problem(max(MS)), config, current_gpu()) is None:
                found.append(config)
    return found


def compile_candidates(layer: Layer, configs: Sequence[Config]) -> None:
    """Compiles several at a time."""

    def launches(m: int) -> list[Launch]:
        inputs = _KERNEL.make_inputs(layer.problem(m), "meta", 0)
        return [launch for config in configs for launch in _KERNEL.launches(inputs, config)]

    warm_up.compile_ahead(launches, MS)


def race(layer: Layer, m: int, configs: Sequence[Config], tuned: tuple[Config, Config] | None = None) -> dict[str, Any]:
    """Times configs of the pair against the three launches that it replaces, cold caches, with adapters and without."""
    problem = layer.problem(m)
    sets = argument_sets(problem)
    apart = {
        "apart by our defaults": (apart_shrink(sets[0].arguments), apart_expand(sets[0].arguments)),
        "apart by vLLM's tiles": _vllm_default(problem),
    }
    if tuned is not None:
        apart["apart, tuned"] = tuned
    operations: dict[str, Callable[[LoraLinearArguments], object]] = {
        "pair " + "/".join(map(str, config.values())): partial(launch, config=config) for config in configs
    }
    for name, (shrink, expand) in apart.items():
        operations[name] = partial(run_apart, shrink=shrink, expand=expand)
    us = timed(operations, sets)
    pairs = [name for name in us if name.startswith("pair")]
    pair = min(pairs, key=us.__getitem__)
    rival = min((name for name in us if name.startswith("apart")), key=us.__getitem__)
    in_one = min((name for name in pairs if name.endswith("/1")), key=us.__getitem__, default=pair)
    for inputs in sets:
        refill(inputs.arguments.shrink.metadata, m, 0, 1)
    idle = timed({name: operations[name] for name in dict.fromkeys((pair, in_one, rival))}, sets)
    return {
        "layer": layer.name,
        "m": m,
        "floor_bytes": _KERNEL.floor(problem).bytes,
        "us": us,
        "ratio": round(us[pair] / us[rival], 3),
        "no_lora_us": idle,
        "no_lora_ratio": round(idle[pair] / idle[rival], 3),
        "no_lora_one_launch_ratio": round(idle[in_one] / idle[rival], 3),
    }


def argument_sets(problem: LoraLinearProblem) -> list[LinearInputs]:
    """Makes argument sets that overflow the L2 cache: a layer's weights are not there when its turn comes."""
    count = min(_MOST_SETS, max(2, _ROTATION_BYTES // _KERNEL.floor(problem).bytes))
    return [_KERNEL.make_inputs(problem, "cuda", seed) for seed in range(count)]


def _vllm_default(problem: LoraLinearProblem) -> tuple[Config, Config]:
    p = problem
    dims = {"max_loras": p.max_loras + 1, "num_slices": p.num_slices, "m": p.m}
    shrink = VLLM.default_config(Call("vllm", "shrink", {**dims, "k": p.k, "n": p.rank}))
    return shrink, VLLM.default_config(Call("vllm", "expand", {**dims, "k": p.rank, "n": p.n, "add_inputs": 1}))


def run_apart(arguments: LoraLinearArguments, shrink: Config, expand: Config) -> None:
    lora_shrink(arguments.shrink, shrink)
    lora_expand(arguments.expand, expand)


def timed(
    operations: Mapping[str, Callable[[LoraLinearArguments], object]], sets: list[LinearInputs]
) -> dict[str, float]:
    """Returns the median microseconds of each operation over interleaved replays."""
    timers = {}
    for name, operation in operations.items():
        runs = [partial(operation, inputs.arguments) for inputs in sets]
        runs[0]()
        timers[name] = CudaGraphTimer(runs, _GRAPH_US)
    samples: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(_ROUNDS):
        for name, timer in timers.items():
            samples[name].append(timer.sample_us())
    return {name: round(median(values), 3) for name, values in samples.items()}
