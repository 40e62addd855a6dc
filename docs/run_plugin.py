"""Times vLLM's dense ops by the server's entry: with the plug-in, and the server's own function, in turn.

    VLLM_TUNED_CONFIG_FOLDER=DIR LORA_AUTOTUNE_KERNELS=1 PYTHONPATH=.:SERVER python docs/run_plugin.py OUT.json

Both sides take the configs that the environment gives them: DIR's own files and DIR/autotune, or with no folder their
defaults, which says whether the plug-in without files is ever slower than the server without files. Each call is
captured in a CUDA graph over argument sets that overflow the L2 cache; replays of both go forth and back. What the
plug-in wrote is held against the reference before it is timed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch

from autotune.contract import AnyKernel, registry
from autotune.environment import current_environment, current_gpu
from autotune.measure.accuracy import expected, worst_ratio
from autotune.measure.timing import CudaGraphTimer, copy_bandwidth_bytes_per_s
from autotune.servers.vllm.plugin import override, register
from autotune.servers.vllm.served_modules import imported

_GRAPH_US: Final = 1000.0
_MOST_SETS: Final = 24
L2_FACTOR: Final = 2.5
_ADAPTERS: Final = 4
BURN_IN: Final = 8
"""Graphs of a process that replay faster than all later ones, see `autotune.measure.workbench`."""


@dataclass(frozen=True)
class Layer:
    """A linear layer: its input's size, and the widths of its slices."""

    name: str
    inputs: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A decoder, by the sizes of its block."""

    name: str
    rank: int
    hidden: int
    attention: int
    kv: int
    intermediate: int

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (
            Layer("qkv", self.hidden, (self.attention, self.kv, self.kv)),
            Layer("o", self.attention, (self.hidden,)),
            Layer("gate_up", self.hidden, (self.intermediate, self.intermediate)),
            Layer("down", self.intermediate, (self.hidden,)),
        )


MODELS: Final = (
    Model("Qwen3-8B", 16, 4096, 4096, 1024, 12288),
    Model("Llama-3.1-8B", 64, 4096, 4096, 1024, 14336),
    Model("Qwen3-Embedding-0.6B", 64, 1024, 2048, 1024, 3072),
)
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 8192)


@dataclass(frozen=True)
class Row:
    """One op of one layer at one batch.

    Attributes:
        own_us: The server's own function.
        ours_us: The op with the plug-in.
        ratio: Median over the rounds of own over ours.
        floor_us: What the bytes take at the bandwidth of a copy.
        error: Largest error, in units of what rounding explains; right up to 1.
    """

    model: str
    layer: str
    op: str
    m: int
    own_us: float
    ours_us: float
    ratio: float
    floor_us: float
    error: float

    @property
    def line(self) -> str:
        where = f"{self.model:22s}{self.layer:9s}{self.op:13s}{self.m:6d}"
        times = (
            f"own {self.own_us:8.2f} us  ours {self.ours_us:8.2f} us  {self.ratio:5.2f}x  floor {self.floor_us:7.2f} us"
        )
        return f"{where}  {times}  error {self.error:.2f}"


def main() -> None:
    parser = options(__doc__, [model.name for model in MODELS], 30)
    parser.add_argument("--tokens", nargs="+", type=int, default=TOKENS)
    arguments = parser.parse_args()
    register()
    if not all(map(override.is_overridden, ("lora_shrink", "lora_expand"))):
        raise SystemExit("the plug-in is not on: set LORA_AUTOTUNE_KERNELS=1, and put a known vLLM on the path")
    models = [m for m in MODELS if m.name in arguments.models]
    keep(timed(models, arguments.tokens, arguments.rounds), arguments.out, arguments.seconds)


def options(about: str | None, models: Sequence[str], rounds: int) -> argparse.ArgumentParser:
    """Returns the parser of what the scripts of all plug-ins take."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", default=models)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=240.0, help="stop after so long, whatever is left")
    return parser


def keep(rows: Iterable[Any], out: Path, seconds: float) -> None:
    """Prints the rows, dataclasses with a `line`, and writes them one by one, until the time is up."""
    end_s = time.monotonic() + seconds
    kept: list[dict[str, Any]] = []
    for row in rows:
        kept.append(asdict(row))
        print(row.line, flush=True)
        out.write_text(json.dumps({"environment": current_environment().known, "rows": kept}, indent=1))
        if time.monotonic() > end_s:
            raise SystemExit("out of time: the rows so far are written")


def race(
    own: Sequence[Callable[[], object]], ours: Sequence[Callable[[], object]], rounds: int
) -> tuple[list[float], list[float]]:
    """Times both sides' calls forth and back; returns the samples of the server's own and of ours, in microseconds."""
    for call in (*own, *ours):
        call()
    timers = [CudaGraphTimer(calls, _GRAPH_US) for calls in (own, ours)]
    samples: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            samples[side].append(timers[side].sample_us())
    return samples


def timed(models: list[Model], tokens: list[int], rounds: int) -> Iterator[Row]:
    """Yields the rows, the sizes of batches outermost, so that a run cut short has something of every layer."""
    bandwidth = copy_bandwidth_bytes_per_s()
    burnt_in = False
    for m in tokens:
        for model in models:
            for layer in model.layers:
                for op in ("lora_shrink", "lora_expand"):
                    case = Case(op, model, layer, m)
                    if not burnt_in:
                        _ = [case.race(1) for _ in range(BURN_IN)]
                        burnt_in = True
                    yield case.row(rounds, bandwidth)


class Case:
    """One op of one layer at one batch, with its argument sets."""

    def __init__(self, op: str, model: Model, layer: Layer, m: int) -> None:
        self._op, self._model, self._layer, self._m = op, model, layer, m
        self._kernel: AnyKernel = registry.load(op)
        flags = {
            "dtype": "bfloat16",
            "m": m,
            "lora_rank": model.rank,
            "num_loras": _ADAPTERS,
            "num_slices": len(layer.widths),
            "hidden_size": layer.inputs if op == "lora_shrink" else max(layer.widths),
            **({"slice_widths": layer.widths} if op == "lora_expand" else {}),
        }
        self._problem = self._kernel.problem_from_flags(flags)
        touched = self._kernel.floor(self._problem).bytes
        count = min(_MOST_SETS, math.ceil(L2_FACTOR * current_gpu().l2_bytes / touched))
        self._sets = [self._kernel.make_inputs(self._problem, "cuda", seed) for seed in range(count)]
        self._ours = [self._call(getattr(torch.ops.vllm, op), inputs) for inputs in self._sets]
        self._own = [self._call(getattr(imported(f"{op}_op"), f"_{op}"), inputs) for inputs in self._sets]

    def row(self, rounds: int, bandwidth: float) -> Row:
        error = self._error()
        own, ours = self.race(rounds)
        ratio = median(one / other for one, other in zip(own, ours, strict=True))
        floor_us = self._kernel.floor(self._problem).bytes / bandwidth * 1e6
        where = (self._model.name, self._layer.name, self._op, self._m)
        return Row(*where, median(own), median(ours), ratio, floor_us, error)

    def race(self, rounds: int) -> tuple[list[float], list[float]]:
        return race(self._own, self._ours, rounds)

    def _error(self) -> float:
        inputs = self._sets[0]
        want = expected(self._kernel, inputs)
        self._kernel.poison(inputs)
        self._ours[0]()
        return worst_ratio(_tensors(inputs).out, want, {})

    def _call(self, function: Callable[..., object], inputs: Any) -> Callable[[], object]:
        """Returns the call that the server makes, over the tensors of a built-in kernel's inputs."""
        tensors = _tensors(inputs)
        mapping = tensors.metadata.token_lora_mapping
        meta = imported("lora_kernel_metadata").LoRAKernelMeta.make(_ADAPTERS, mapping.numel(), "cuda")
        meta.prepare_tensors(mapping.cpu())
        metadata = meta.meta_args(mapping.numel(), specialize_active_lora=False)
        shrink = self._op == "lora_shrink"
        weights = [w if w.ndim == 4 else w.unsqueeze(1) for w in (tensors.a if shrink else tensors.b)]
        extra = (tensors.scaling,) if shrink else (tensors.offset, tensors.add_inputs)
        return partial(function, tensors.x, weights, tensors.out, *metadata, *extra)


def _tensors(inputs: Any) -> Any:
    return getattr(inputs, "arguments", inputs)


if __name__ == "__main__":
    main()
