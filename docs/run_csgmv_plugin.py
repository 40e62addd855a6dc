"""Times SGLang's csgmv backend by its own methods: with the plug-in, and the server's own class, in turn.

    SGLANG_LORA_CONFIG_DIR=DIR LORA_AUTOTUNE_KERNELS=1 PYTHONPATH=.:SERVER python docs/run_csgmv_plugin.py OUT.json

Both sides take the configs that the environment gives them: DIR's own files and DIR/autotune, or with no folder the
files that SGLang brings and our defaults. Batches are prompts with one adapter in order or eight in any order, eager as
the server runs them, and decode batches in a graph's buffer. Each call is captured in a CUDA graph over argument sets
that overflow the L2 cache; replays of both go back and forth. Outputs of both are compared before they are timed.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch

from autotune.contract import registry
from autotune.servers.sglang.plugin import register
from autotune.servers.sglang.served_csgmv import metadata
from autotune.servers.sglang.served_modules import EXPAND, imported
from decoder_models import MODELS, Layer, Model
from plugin_race import Raced, Sides, keep, options, set_count, timed

Call = Callable[[], torch.Tensor]

_MOST_SETS: Final = 8
_REGISTRY: Final = "sglang.srt.lora.backend.lora_registry"


@dataclass(frozen=True)
class BatchKind:
    """A kind of batch: its workload, tokens and adapters."""

    name: str
    chunk_size: int
    flags: dict[str, Any]


PROMPTS: Final = {"workload": "prefill", "total_tokens": 30_720}
KINDS: Final = (
    *(BatchKind("one adapter", chunk, {**PROMPTS, "num_loras": 1}) for chunk in (16, 32, 64, 128)),
    *(BatchKind("eight adapters", chunk, {**PROMPTS, "num_loras": 8}) for chunk in (16, 128)),
    *(BatchKind(f"decode {n}", 16, {"workload": "decode", "total_tokens": n, "num_loras": 8}) for n in (1, 16, 64)),
)


@dataclass(frozen=True)
class MethodRow:
    """One op of one layer at one batch.

    Attributes:
        own_us: The server's own class.
        ours_us: The class with the plug-in.
        ratio: Median over the rounds of own over ours.
        difference: Largest difference of their outputs, over the largest value.
    """

    model: str
    layer: str
    op: str
    batch: str
    chunk_size: int
    own_us: float
    ours_us: float
    ratio: float
    difference: float

    @property
    def line(self) -> str:
        where = f"{self.model:22s}{self.layer:9s}{self.op:7s}{self.batch:15s}{self.chunk_size:4d}"
        raced = Raced(self.own_us, self.ours_us, self.ratio)
        return f"{where}  {raced}  difference {self.difference:.1e}"


def main() -> None:
    parser = options(__doc__, ["Qwen3-Embedding-0.6B", "Qwen3-8B"], 20)
    arguments = parser.parse_args()
    own = current_backend()
    register()
    ours = current_backend()
    if type(own) is type(ours):
        raise SystemExit("the plug-in is not on: set LORA_AUTOTUNE_KERNELS=1, and put a known SGLang on the path")
    models = [m for m in MODELS if m.name in arguments.models]
    keep(timed(cases(own, ours, models), arguments.rounds), arguments.out, arguments.seconds)


def current_backend() -> Any:
    """Makes the backend that the server's registry names now: the plug-in's, once it is registered."""
    made = importlib.import_module(_REGISTRY).get_backend_from_name("csgmv")
    found = made.__new__(made)
    found.max_chunk_size = 128
    return found


def cases(own: Any, ours: Any, models: list[Model]) -> Iterator[MethodCase]:
    """Yields the batches outermost, so that a run cut short has something of every layer."""
    for kind, model in itertools.product(KINDS, models):
        for layer, op in itertools.product(model.layers, ("shrink", "expand")):
            yield MethodCase(own, ours, op, model, layer, kind)


class MethodCase:
    """One op of one layer at one batch, with its argument sets."""

    def __init__(self, own: Any, ours: Any, op: str, model: Model, layer: Layer, kind: BatchKind) -> None:
        self._where = (model.name, layer.name, op, kind.name, kind.chunk_size)
        kernel = registry.load(f"csgmv_{op}")
        problem = kernel.problem_from_flags(
            {
                "dtype": "bfloat16",
                "chunk_size": kind.chunk_size,
                "lora_rank": model.rank,
                "num_slices": len(layer.widths),
                "hidden_size": layer.inputs,
                "slice_widths": layer.widths,
                **kind.flags,
            }
        )
        count = set_count(kernel.floor(problem).bytes, _MOST_SETS)
        sets = [kernel.make_inputs(problem, "cuda", seed) for seed in range(count)]
        calls = shrink_calls if op == "shrink" else expand_calls
        pairs = [calls(own, ours, inputs.arguments, problem) for inputs in sets]
        self.sides = Sides(*zip(*pairs, strict=True))
        self._reset = partial(kernel.poison, sets[0])
        self._rows = torch.cat([tokens for tokens, _, _ in sets[0].arguments.batch.by_adapter()])

    def row(self, rounds: int) -> MethodRow:
        difference = self._difference()
        return MethodRow(*self._where, *self.sides.race(rounds), difference)

    def _difference(self) -> float:
        """Compares what both write for tokens that have an adapter; for others a shrink leaves what was there."""
        outputs = []
        for calls in (self.sides.own, self.sides.ours):
            self._reset()
            output = calls[0]()
            assert isinstance(output, torch.Tensor)
            outputs.append(output[self._rows].float())
        own, ours = outputs
        return float((own - ours).abs().max() / own.abs().max())


def shrink_calls(own: Any, ours: Any, a: Any, problem: Any) -> tuple[Call, Call]:
    """Returns the calls of both backends' method that shrinks."""
    info = batch_info(a, problem)

    def of(to: Any) -> Call:
        def run() -> torch.Tensor:
            to.batch_info, to._ranks = info, problem.pool_ranks
            found: torch.Tensor = to.run_lora_a_sgemm(a.x, a.a, stack_num=a.num_slices)
            return found

        return run

    return of(own), of(ours)


def expand_calls(own: Any, ours: Any, a: Any, problem: Any) -> tuple[Call, Call]:
    """Returns the calls of what both backends' methods expand by; no method of several slices does so alone."""
    info = batch_info(a, problem)
    on_cpu = torch.tensor(a.slice_offsets, dtype=torch.int32)
    offsets, widest = on_cpu.cuda(), max(a.slice_widths)
    own_arguments = {"slice_offsets": offsets, "max_slice_size": widest, "base_output": a.out}
    if "slice_offsets_cpu" in inspect.signature(imported(EXPAND).chunked_sgmv_lora_expand_forward).parameters:
        own_arguments["slice_offsets_cpu"] = on_cpu

    def of_own() -> torch.Tensor:
        found: torch.Tensor = imported(EXPAND).chunked_sgmv_lora_expand_forward(
            x=a.x, weights=a.b, batch_info=info, **own_arguments
        )
        return found

    def of_ours() -> torch.Tensor:
        ours._ranks = problem.pool_ranks
        call = replace(ours._call(a.x, a.b, info, len(a.slice_widths)), widths=a.slice_widths, base=a.out)
        found: torch.Tensor = ours._expanded(call, info, offsets, widest, {"output_offset_cpu": on_cpu})
        return found

    return of_own, of_ours


def batch_info(a: Any, problem: Any) -> Any:
    """Makes the server's metadata of a batch; that of decode is a graph's."""
    info = metadata(a.batch)
    info.use_cuda_graph = problem.workload == "decode"
    return info


if __name__ == "__main__":
    main()
