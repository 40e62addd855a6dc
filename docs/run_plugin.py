"""Times vLLM's dense ops by the server's entry: with the plug-in, and the server's own function, in turn.

    VLLM_TUNED_CONFIG_FOLDER=DIR LORA_AUTOTUNE_KERNELS=1 PYTHONPATH=.:SERVER python docs/run_plugin.py OUT.json

Both sides take the configs that the environment gives them: DIR's own files and DIR/autotune, or with no folder their
defaults, which says whether the plug-in without files is ever slower than the server without files. Each call is
captured in a CUDA graph over argument sets that overflow the L2 cache; replays of both go back and forth. What the
plug-in wrote is held against the reference before it is timed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from autotune.contract import AnyKernel, registry
from autotune.measure.accuracy import expected, worst_ratio
from autotune.measure.timing import copy_bandwidth_bytes_per_s
from autotune.servers.vllm.plugin import override, register
from autotune.servers.vllm.served_modules import imported
from decoder_models import MODELS, Layer, Model
from plugin_race import Raced, Sides, keep, options, set_count, timed

_MOST_SETS: Final = 24
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 8192)
OPS: Final = ("lora_shrink", "lora_expand")


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
        raced = Raced(self.own_us, self.ours_us, self.ratio)
        return f"{where}  {raced}  floor {self.floor_us:7.2f} us  error {self.error:.2f}"


def main() -> None:
    parser = options(__doc__, [model.name for model in MODELS], 30)
    parser.add_argument("--tokens", nargs="+", type=int, default=TOKENS)
    parser.add_argument("--ops", nargs="+", choices=OPS, default=OPS)
    parser.add_argument("--tp", type=int, default=1, help="what one of so many GPUs launches")
    parser.add_argument("--adapters", type=int, default=4, help="as many as the server has room for, all in use")
    arguments = parser.parse_args()
    register()
    if not all(map(override.is_overridden, OPS)):
        raise SystemExit("the plug-in is not on: set LORA_AUTOTUNE_KERNELS=1, and put a known vLLM on the path")
    models = [model.split(arguments.tp) for model in MODELS if model.name in arguments.models]
    chosen = cases(models, arguments.ops, arguments.tokens, arguments.adapters)
    keep(timed(chosen, arguments.rounds), arguments.out, arguments.seconds)


def cases(models: list[Model], ops: list[str], tokens: list[int], adapters: int) -> Iterator[DenseCase]:
    """Yields the sizes of batches outermost, so that a run cut short has something of every layer."""
    bandwidth = copy_bandwidth_bytes_per_s()
    for m, model in itertools.product(tokens, models):
        for layer, op in itertools.product(model.layers, ops):
            yield DenseCase(op, model, layer, (m, adapters), bandwidth)


class DenseCase:
    """One op of one layer at one batch, so many tokens of so many adapters, with its argument sets."""

    def __init__(self, op: str, model: Model, layer: Layer, batch: tuple[int, int], bandwidth: float) -> None:
        m, self._adapters = batch
        self._op, self._where = op, (model.name, layer.name, op, m)
        self._kernel: AnyKernel = registry.load(op)
        flags = {
            "dtype": "bfloat16",
            "m": m,
            "lora_rank": model.rank,
            "num_loras": self._adapters,
            "num_slices": len(layer.widths),
            "hidden_size": layer.inputs if op == "lora_shrink" else max(layer.widths),
            **({"slice_widths": layer.widths} if op == "lora_expand" else {}),
        }
        problem = self._kernel.problem_from_flags(flags)
        touched_bytes = self._kernel.floor(problem).bytes
        self._floor_us = touched_bytes / bandwidth * 1e6
        sets = [self._kernel.make_inputs(problem, "cuda", seed) for seed in range(set_count(touched_bytes, _MOST_SETS))]
        own, ours = getattr(imported(f"{op}_op"), f"_{op}"), getattr(torch.ops.vllm, op)
        self.sides = Sides(*([self._call(function, inputs) for inputs in sets] for function in (own, ours)))
        self._first = sets[0]

    def row(self, rounds: int) -> Row:
        error = self._error()
        return Row(*self._where, *self.sides.race(rounds), self._floor_us, error)

    def _error(self) -> float:
        want = expected(self._kernel, self._first)
        self._kernel.poison(self._first)
        self.sides.ours[0]()
        return worst_ratio(_tensors(self._first).out, want, {})

    def _call(self, function: Callable[..., object], inputs: Any) -> Callable[[], object]:
        """Returns the call that the server makes, over the tensors of a built-in kernel's inputs."""
        tensors = _tensors(inputs)
        mapping = tensors.metadata.token_lora_mapping
        meta = imported("lora_kernel_metadata").LoRAKernelMeta.make(self._adapters, mapping.numel(), "cuda")
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
