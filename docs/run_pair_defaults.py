"""Times what the pair (`lora_linear`) could launch with by default against shrink and expand apart, over many layers.

    PYTHONPATH=. python docs/run_pair_defaults.py OUT.json [--seconds N] [--layers NAMES]

Each row of OUT.json is a layer at an m: microseconds of each candidate, and of zeroing, shrink and expand by their
defaults, over interleaved graph replays with cold caches. Candidates are what rules like that of
`autotune.kernels.lora_linear.defaults` come to with other numbers in them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import pair_race
from autotune.contract import Config
from autotune.environment import current_environment, current_gpu
from autotune.kernels.common.tiles import cdiv, next_pow2
from autotune.kernels.lora_linear import space
from autotune.kernels.lora_linear.operation import apart_expand, apart_shrink
from autotune.servers.vllm import facts
from pair_check import launch
from pair_layers import LAYERS, Layer

MORE_LAYERS = (
    Layer("llama-3.1-8b/o", 4096, (4096,), 64),
    Layer("70b tp 8/qkv", 8192, (1024, 128, 128), 16),
    Layer("70b tp 8/down", 3584, (8192,), 32),
    Layer("0.6b/qkv", 1024, (2048, 1024, 1024), 32),
    Layer("0.6b/o", 2048, (1024,), 8),
    Layer("rank 128/gate_up", 2560, (9728, 9728), 128),
    Layer("rank 256/o", 4096, (4096,), 256),
)
EVERY_LAYER = (*LAYERS, *MORE_LAYERS)
MS = (1, 16, 64)
APART = "apart"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no layer after that")
    parser.add_argument("--layers", nargs="+", default=[layer.name for layer in EVERY_LAYER])
    arguments = parser.parse_args()
    end, rows = time.monotonic() + arguments.seconds, []
    environment = current_environment().known
    for layer in (each for each in EVERY_LAYER if each.name in arguments.layers):
        if time.monotonic() > end:
            break
        configs = candidates(layer)
        pair_race.compile_candidates(layer, configs)
        for m in MS:
            rows.append({"layer": layer.name, "m": m, "us": timed(layer, m, configs)})
            arguments.out.write_text(json.dumps({"environment": environment, "rows": rows}, indent=1))
            print(layer.name, m, len(configs), flush=True)


def candidates(layer: Layer) -> list[Config]:
    """Returns the configs that the rules come to for a layer."""
    numbers = itertools.product((16, 32, 64), (16, 32), (2, 4), (256, 512), (64, 128, 256), (1, 2))
    found = {name_of(each): each for each in (_by_rule(layer, *each) for each in numbers)}
    largest = layer.problem(max(MS))
    return [config for config in found.values() if space.infeasible(largest, config, current_gpu()) is None]


def _by_rule(
    layer: Layer, shrinks: int, most_splits: int, warps: int, deepest: int, block_n: int, stages: int
) -> dict[str, int]:
    programs = len(layer.widths) * cdiv(layer.rank, 16)
    split_k = min(most_splits, next_pow2(cdiv(layer.k, 64)), 1 << max(0, round(math.log2(shrinks / programs))))
    block_k = min(deepest, max(16 * warps, next_pow2(cdiv(layer.k, split_k))))
    block_n = min(block_n, max(32, next_pow2(max(layer.widths))))
    sizes = (16, block_n, block_k, 16, split_k, warps, stages, 2)
    return dict(zip(facts.LINEAR_KEYS, sizes, strict=True))


def timed(layer: Layer, m: int, configs: list[Config]) -> dict[str, float]:
    """Returns microseconds by the config's values, and of `APART`."""
    sets = pair_race.argument_sets(layer.problem(m))
    apart: dict[str, Any] = {
        "shrink": apart_shrink(sets[0].arguments),
        "expand": apart_expand(sets[0].arguments),
    }
    ways: dict[str, Any] = {name_of(config): partial(launch, config=config) for config in configs}
    return pair_race.timed({**ways, APART: partial(pair_race.run_apart, **apart)}, sets)


def name_of(config: Config) -> str:
    return "/".join(str(config[key]) for key in facts.LINEAR_KEYS)


if __name__ == "__main__":
    main()
