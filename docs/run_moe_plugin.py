"""Times vLLM's op for the LoRA of experts by the server's entry: with the plug-in, and the server's own function.

    LORA_AUTOTUNE_KERNELS=moe PYTHONPATH=.:SERVER python docs/run_moe_plugin.py OUT.json [--folder DIR]

Rows are aligned as a server does it: with DIR's own files where it has some of experts, with the base model's tiles,
which it takes with no config folder, and with block_m 64, which it takes with a folder that has no files of experts.
The plug-in takes the entries of DIR/autotune, and each row says whether one was launched. Each call is captured in a
CUDA graph over argument sets that overflow the L2 cache; replays of both go back and forth. What the plug-in wrote is
held against the reference before it is timed. Cells that the plug-in leaves to the server's small-batch kernel are told
and not timed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from autotune.contract import AnyKernel, registry
from autotune.environment import current_gpu
from autotune.measure.accuracy import expected, worst_ratio
from autotune.measure.timing import copy_bandwidth_bytes_per_s
from autotune.servers import places, stand_back
from autotune.servers.lookup import Lookup
from autotune.servers.vllm.base_moe import BaseExperts, no_folder_config
from autotune.servers.vllm.facts import ALIGNED_W2, ALIGNED_W13, MOE_FALLBACK, MOE_GROUP, W2_SHRINK, W13_SHRINK
from autotune.servers.vllm.moe_paths import small_batch
from autotune.servers.vllm.plugin import override, register
from autotune.servers.vllm.served_modules import imported
from autotune.servers.vllm.served_moe import MODULE, Tokens, tiles, told_of_machine
from autotune.servers.vllm.server import VLLM
from plugin_race import Raced, Sides, keep, options, set_count, timed

_MOST_SETS: Final = 8
_ADAPTERS: Final = 4
SIDES: Final = ("gate_up", "down")
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 8192)


@dataclass(frozen=True)
class MoeModel:
    """A model's experts, and the rank of its adapters."""

    name: str
    rank: int
    hidden: int
    intermediate: int
    experts: int
    top_k: int


MODELS: Final = (
    MoeModel("Qwen3-30B-A3B r16", 16, 2048, 768, 128, 8),
    MoeModel("Qwen3-30B-A3B r64", 64, 2048, 768, 128, 8),
    MoeModel("Mixtral-8x7B r16", 16, 4096, 14336, 8, 2),
)


@dataclass(frozen=True)
class MoeRow:
    """One product of one model's experts at one batch.

    Attributes:
        block_m: What the server aligned to; 0 where pairs are naive.
        own_us: The server's own function.
        ours_us: The op with the plug-in.
        ratio: Median over the rounds of own over ours.
        floor_us: What the bytes take at the bandwidth of a copy.
        error: Largest error, in units of what rounding explains; right up to 1.
        launched: What the plug-in launches: an entry, the server's own where one says so, or what runs without one.
    """

    model: str
    side: str
    m: int
    block_m: int
    own_us: float
    ours_us: float
    ratio: float
    floor_us: float
    error: float
    launched: str

    @property
    def line(self) -> str:
        where = f"{self.model:20s}{self.side:9s}{self.m:6d} block_m {self.block_m:4d}"
        raced = Raced(self.own_us, self.ours_us, self.ratio)
        return f"{where}  {raced}  floor {self.floor_us:8.2f} us  error {self.error:.2f}  {self.launched}"


def main() -> None:
    parser = options(__doc__, [model.name for model in MODELS], 30)
    parser.add_argument("--tokens", nargs="+", type=int, default=TOKENS)
    parser.add_argument("--folder", type=Path, help="an output folder of tune --source both")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        os.environ[places.VARIABLE] = str(arguments.folder / places.BUILTIN_FOLDER)
    register()
    if not override.is_overridden(MOE_GROUP):
        raise SystemExit("the plug-in is not on: set LORA_AUTOTUNE_KERNELS=moe, and put a known vLLM on the path")
    models = [model for model in MODELS if model.name in arguments.models]
    with told_of_machine(torch.device("cuda")):
        found = cases(models, arguments.tokens, arguments.folder)
        keep(timed(found, arguments.rounds), arguments.out, arguments.seconds)


def cases(models: list[MoeModel], tokens: list[int], folder: Path | None) -> Iterator[AlignedCell]:
    """Yields the sizes of batches outermost, so that a run cut short has something of every model."""
    bandwidth = copy_bandwidth_bytes_per_s()
    for m, model, side in itertools.product(tokens, models, SIDES):
        cell = Cell(model, side, m, "cuda", folder)
        if cell.is_left:
            print(f"{model.name:20s}{side:9s}{m:6d} the server's small-batch kernel", flush=True)
            continue
        for block_m in cell.block_ms:
            yield AlignedCell(cell, block_m, bandwidth)


class Cell:
    """One product at one batch, with its argument sets."""

    def __init__(self, model: MoeModel, side: str, m: int, device: str, folder: Path | None) -> None:
        self._model, self._side, self._m, self._folder = model, side, m, folder
        self._kernel: AnyKernel = registry.load(f"{MOE_GROUP}_{side}_one_shot")
        flags = {
            "dtype": "bfloat16",
            "m": m,
            "lora_rank": model.rank,
            "num_loras": _ADAPTERS,
            "hidden_size": model.hidden,
            "moe_intermediate_size": model.intermediate,
            "num_experts": model.experts,
            "top_k_num": model.top_k,
            "num_slices": 2,
        }
        self._problem: Any = self._kernel.problem_from_flags(flags)
        self.is_left = small_batch(model.rank, m * model.top_k, self._problem.naive)
        self.where = (model.name, side, m)
        self.touched_bytes = self._kernel.floor(self._problem).bytes
        count = 0 if self.is_left else set_count(self.touched_bytes, _MOST_SETS)
        made = [self._kernel.make_inputs(self._problem, device, seed) for seed in range(count)]
        self._sets = [(inputs, Tokens.of(inputs.arguments.batch)) for inputs in made]

    @property
    def block_ms(self) -> list[int]:
        """What a server aligns to with this folder, with no folder, and with one that has no files of experts."""
        if self._problem.naive:
            return [0]
        experts = BaseExperts(self._m, self._model.experts, self._model.intermediate)
        no_folder = no_folder_config(W13_SHRINK, experts, self._model.rank, current_gpu())
        found = [no_folder["block_m"], MOE_FALLBACK["block_m"]]
        if self._folder is not None:
            shrink = self._look_up(self._folder, W13_SHRINK if self._side == SIDES[0] else W2_SHRINK, "")
            found.insert(0, (shrink.config or {}).get("block_m"))
        return list(dict.fromkeys(int(each) for each in found if each))

    def launched(self, block_m: int) -> str:
        """Tells what the files say that the plug-in launches where the server aligns to block_m."""
        if self._folder is None or self._problem.naive:
            return "no entry"
        op = ALIGNED_W13 if self._side == SIDES[0] else ALIGNED_W2
        found = self._look_up(self._folder, op, places.BUILTIN_FOLDER)
        if found.origin == "default" or found.config is None:
            return "no entry"
        if stand_back.is_one(found.config):
            return "the server's own"
        return "entry" if found.config["block_m"] == block_m else "no entry"

    def _look_up(self, folder: Path, op: str, inside: str) -> Lookup:
        call = self._kernel.call(self._problem)
        assert call is not None
        return VLLM.lookup(folder / inside, current_gpu().name, replace(call, op=op))

    def error(self, call: Callable[[], object]) -> float:
        """Returns the largest error of what a call of the first argument set writes."""
        inputs, _ = self._sets[0]
        want = expected(self._kernel, inputs)
        self._kernel.poison(inputs)
        call()
        return worst_ratio(inputs.arguments.out, want, {})

    def calls(self, function: Callable[..., object], block_m: int) -> list[Callable[[], object]]:
        """Returns the calls that the server makes, over the tensors of a built-in kernel's inputs."""
        both = tiles({"block_m": block_m or MOE_FALLBACK["block_m"]})
        found: list[Callable[[], object]] = []
        for inputs, tokens in self._sets:
            t = inputs.arguments
            rows = tokens.rows[both[0]].tensors
            batch = (tokens.topk_weights, *rows, tokens.mapping, self._model.rank, tokens.top_k)
            adapters = (tokens.lora_ids, tokens.active, tokens.enabled)
            last = (t.routed, False, 0, t.add_inputs)
            found.append(partial(function, t.out, t.x, t.a, t.b, *batch, *adapters, *both, *both, *last))
        return found


class AlignedCell:
    """A cell whose rows the server aligned to `block_m`."""

    def __init__(self, cell: Cell, block_m: int, bandwidth: float) -> None:
        self._cell, self._block_m = cell, block_m
        self._floor_us = cell.touched_bytes / bandwidth * 1e6
        own, ours = imported(MODULE)._fused_moe_lora, torch.ops.vllm.fused_moe_lora
        self.sides = Sides(cell.calls(own, block_m), cell.calls(ours, block_m))

    def row(self, rounds: int) -> MoeRow:
        error, launched = self._cell.error(self.sides.ours[0]), self._cell.launched(self._block_m)
        return MoeRow(
            *self._cell.where,
            self._block_m,
            *self.sides.race(rounds),
            self._floor_us,
            error,
            launched,
        )


if __name__ == "__main__":
    main()
