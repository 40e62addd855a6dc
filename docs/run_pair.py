"""Checks, tunes and times shrink and expand in one launch (`lora_linear`) on this machine's GPU.

    PYTHONPATH=. python docs/run_pair.py OUT_DIR [--seconds N] [--layers GLOB]

Three steps, each row at once in OUT_DIR/pair.json: correctness under graph replay with other adapters, fewer tokens and
none; a race in interleaved graph replays of a few configs of the pair against zeroing, shrink and expand apart, with
adapters and without; with --seconds, studies of all three kernels, and the race again of what they found.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import triton

from autotune import api
from autotune.contract import Call, Config, Launch
from autotune.contract.space import Space
from autotune.environment import current_gpu
from autotune.kernels.common.metadata import LoraMetadata, random_mapping
from autotune.kernels.lora_expand import lora_expand
from autotune.kernels.lora_expand.problem import LoraExpandProblem
from autotune.kernels.lora_linear import space
from autotune.kernels.lora_linear.execution import LinearInputs
from autotune.kernels.lora_linear.kernel import LoraLinear
from autotune.kernels.lora_linear.launcher import LoraLinearArguments, pair_launches
from autotune.kernels.lora_linear.operation import apart_expand, apart_shrink
from autotune.kernels.lora_linear.problem import LoraLinearProblem
from autotune.kernels.lora_shrink import lora_shrink
from autotune.kernels.lora_shrink.problem import LoraShrinkProblem
from autotune.measure.timing import CudaGraphTimer, copy_bandwidth_bytes_per_s
from autotune.servers.plugin import warm_up
from autotune.servers.vllm import facts
from autotune.servers.vllm.linear import is_apart
from autotune.servers.vllm.server import VLLM
from autotune.study.study import KernelStudy

MS = (1, 4, 16, 32, 64)
ADAPTERS = 4
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
"""block_n, block_k, split_k, num_warps, num_stages."""
_ROTATION_BYTES = 150_000_000
_MOST_SETS = 64
_ROUNDS = 15
_GRAPH_US = 500.0
_CHECKED_CONFIGS = 4


@dataclass(frozen=True)
class Layer:
    """One linear layer: columns of x, slices of the output, the server's rank."""

    name: str
    k: int
    widths: tuple[int, ...]
    rank: int

    def problem(self, m: int, dtype: str = "bfloat16") -> LoraLinearProblem:
        return LoraLinearProblem(
            dtype,
            m,
            self.k,
            max(self.widths),
            len(self.widths),
            ADAPTERS,
            slice_widths=self.widths,
            lora_rank=self.rank,
        )

    def problems(self, kernel: str) -> api.Problems:
        """Describes the studies of one kernel; a shrink's hidden size is k, an expand's is n."""
        values: dict[str, Any] = {
            "dtype": "bfloat16",
            "hidden_size": max(self.widths) if kernel == "lora_expand" else self.k,
            "lora_rank": self.rank,
            "num_loras": ADAPTERS,
            "num_slices": len(self.widths),
        }
        if kernel != "lora_shrink":
            values["slice_widths"] = self.widths
        return api.Problems(kernel, values, MS)


LAYERS = (
    Layer("qwen3-8b/qkv", 4096, (4096, 1024, 1024), 16),
    Layer("qwen3-8b/o", 4096, (4096,), 16),
    Layer("qwen3-8b/gate_up", 4096, (12288, 12288), 16),
    Layer("qwen3-8b/down", 12288, (4096,), 16),
    Layer("llama-3.1-8b/qkv", 4096, (4096, 1024, 1024), 64),
    Layer("llama-3.1-8b/gate_up", 4096, (14336, 14336), 64),
    Layer("llama-3.1-8b/down", 14336, (4096,), 64),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=0.0, help="for all studies together")
    parser.add_argument("--layers", default="*", metavar="GLOB")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    layers = [layer for layer in LAYERS if fnmatch.fnmatch(layer.name, arguments.layers)]
    found: dict[str, Any] = {
        "machine": {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "triton": triton.__version__},
        "bandwidth_bytes_per_s": copy_bandwidth_bytes_per_s(),
    }

    def keep(name: str, row: Any) -> None:
        found.setdefault(name, []).append(row)
        (arguments.out / "pair.json").write_text(json.dumps(found, indent=1))
        print(json.dumps({name: row}), flush=True)

    for layer, m, dtype in ((layers[0], 16, "bfloat16"), (layers[0], 1, "float16"), (layers[-1], 64, "bfloat16")):
        keep("checks", check(layer, m, dtype))
    for layer in layers:
        configs = candidates(layer)
        compile_candidates(layer, configs)
        for m in MS:
            keep("race", race(layer, m, configs))
    if arguments.seconds > 0:
        tuned = tune(layers, arguments.out, arguments.seconds)
        for study in tuned.values():
            keep("studies", study_row(study))
        for layer, m in itertools.product(layers, MS):
            problem = layer.problem(m)
            best = tuned.get(f"lora_linear-{problem.label}")
            if best is not None and not is_apart(_winner(best)):
                keep("tuned race", race(layer, m, [_winner(best)], _tuned_apart(problem, tuned)))


# Correctness.


def check(layer: Layer, m: int, dtype: str) -> dict[str, Any]:
    """Captures one launch a config, and replays it over other tokens than it was captured with."""
    problem = layer.problem(m, dtype)
    inputs = _KERNEL.make_inputs(problem, "cuda", 1)
    configs = Space.build(_KERNEL, problem, current_gpu(), "wide").configs[1:]
    worst, failed, checked = 0.0, [], 0
    for config in configs[:: max(1, len(configs) // _CHECKED_CONFIGS)]:
        try:
            graph = captured(partial(_launch, inputs.arguments, config))
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


def _launch(arguments: LoraLinearArguments, config: Config) -> None:
    for launch in pair_launches(arguments, config):
        launch.run()


# Studies.


def tune(layers: list[Layer], out: Path, seconds: float) -> dict[str, KernelStudy]:
    """Runs the studies of the pair, and of shrink and expand, of all layers; returns the finished ones by label."""
    url = f"sqlite:///{out.resolve() / 'pair.db'}"
    storage = api.open_storage(url, create=True)
    for kernel, layer in itertools.product(("lora_linear", "lora_shrink", "lora_expand"), layers):
        wanted = api.of_problems(layer.problems(kernel), api.Request(backend="cuda", source="builtin"))
        wanted.create(storage, skip_if_exists=True)
    chosen = api.find(storage)
    failures = api.run(storage, chosen, api.RunOptions(url), api.Budget(trials=60, timeout_s=seconds))
    print(json.dumps({"failures": failures}), flush=True)
    return {f"{s.spec.kernel}-{s.problem.label}": s for s in api.find(storage) if s.result is not None}


def study_row(study: KernelStudy) -> dict[str, Any]:
    result = study.result
    assert result is not None
    decision = result.decision
    return {
        "kernel": study.spec.kernel,
        "problem": study.problem.label,
        "outcome": decision.outcome,
        "incumbent_us": decision.incumbent_us,
        "tuned_us": decision.tuned_us,
        "config": dict(decision.config),
        "counts": dict(result.counts),
    }


# Race.


def candidates(layer: Layer) -> list[Config]:
    """Returns some configs of the pair, from few long programs to many short ones, that this layer's space holds."""
    found: list[Config] = []
    for block_n, block_k, split_k, warps, stages in CANDIDATES:
        for block_r in (16, 64):
            config = dict(zip(facts.LINEAR_KEYS, (16, block_n, block_k, block_r, split_k, warps, stages), strict=True))
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
        "pair " + "/".join(map(str, config.values())): partial(_launch, config=config) for config in configs
    }
    for name, (shrink, expand) in apart.items():
        operations[name] = partial(_apart, shrink=shrink, expand=expand)
    us = timed(operations, sets)
    pair = min((name for name in us if name.startswith("pair")), key=us.__getitem__)
    rival = min((name for name in us if name.startswith("apart")), key=us.__getitem__)
    for inputs in sets:
        refill(inputs.arguments.shrink.metadata, m, 0, 1)
    idle = timed({name: operations[name] for name in (pair, rival)}, sets)
    return {
        "layer": layer.name,
        "m": m,
        "floor_bytes": _KERNEL.floor(problem).bytes,
        "us": us,
        "ratio": round(us[pair] / us[rival], 3),
        "no_lora_us": idle,
        "no_lora_ratio": round(idle[pair] / idle[rival], 3),
    }


def argument_sets(problem: LoraLinearProblem) -> list[LinearInputs]:
    """Makes argument sets that overflow the L2 cache: a layer's weights are not there when its turn comes."""
    count = min(_MOST_SETS, max(2, _ROTATION_BYTES // _KERNEL.floor(problem).bytes))
    return [_KERNEL.make_inputs(problem, "cuda", seed) for seed in range(count)]


def _tuned_apart(problem: LoraLinearProblem, tuned: Mapping[str, KernelStudy]) -> tuple[Config, Config] | None:
    """Returns the tuned configs of shrink and expand of a layer, if both studies are finished."""
    p = problem
    shrink = LoraShrinkProblem(p.dtype, p.m, p.k, p.rank, p.num_slices, p.max_loras)
    expand = LoraExpandProblem(p.dtype, p.m, p.rank, p.n, p.num_slices, p.max_loras, slice_widths=p.slice_widths)
    one, other = tuned.get(f"lora_shrink-{shrink.label}"), tuned.get(f"lora_expand-{expand.label}")
    return (_winner(one), _winner(other)) if one and other else None


def _winner(study: KernelStudy) -> Config:
    assert study.result is not None
    return study.result.decision.config


def _vllm_default(problem: LoraLinearProblem) -> tuple[Config, Config]:
    p = problem
    dims = {"max_loras": p.max_loras + 1, "num_slices": p.num_slices, "m": p.m}
    shrink = VLLM.default_config(Call("vllm", "shrink", {**dims, "k": p.k, "n": p.rank}))
    return shrink, VLLM.default_config(Call("vllm", "expand", {**dims, "k": p.rank, "n": p.n, "add_inputs": 1}))


def _apart(arguments: LoraLinearArguments, shrink: Config, expand: Config) -> None:
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


if __name__ == "__main__":
    main()
