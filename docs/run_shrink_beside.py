"""Times LoRA in the linear layers of decoder blocks by where its shrink runs: after the base's product, or beside it.

    PYTHONPATH=. python docs/run_shrink_beside.py OUT.json [--blocks N]

Each row of OUT.json is a model's layers at an m: microseconds a block of the base's products alone, and how many more
LoRA takes. Blocks have weights of their own, so that each finds cold caches; all of them are one CUDA graph, and the
graphs are replayed in turn. Kernels are ours by their defaults.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from autotune.environment import current_environment
from autotune.kernels.lora_expand import lora_expand
from autotune.kernels.lora_linear import defaults
from autotune.kernels.lora_linear.kernel import LoraLinear
from autotune.kernels.lora_linear.launcher import LoraLinearArguments
from autotune.kernels.lora_linear.operation import apart_expand, apart_shrink, lora_linear
from autotune.kernels.lora_shrink import lora_shrink
from autotune.servers.vllm.plugin.shrink_beside import SideStream
from pair_check import captured
from pair_layers import LAYERS, Layer

MS = (1, 16, 64, 128, 256, 384, 512, 1024, 2048, 4096, 8192)
MODELS = {
    "qwen3-8b": tuple(layer for layer in LAYERS if layer.name.startswith("qwen3-8b")),
    "llama-3.1-8b": (*(layer for layer in LAYERS if layer.name.startswith("llama")), Layer("o", 4096, (4096,), 64)),
}
_FEW = 1024
_ROUNDS = 30
_SIDE = SideStream()


@dataclass(frozen=True)
class Linear:
    """A linear layer with LoRA; its input x ``[M, K]`` is written ahead of it, as by a norm."""

    lora: LoraLinearArguments
    source: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, layer: Layer, m: int, seed: int) -> Linear:
        lora = LoraLinear().make_inputs(layer.problem(m), "cuda", seed).arguments
        weight = torch.randn(sum(layer.widths), layer.k, device="cuda", dtype=lora.expand.out.dtype)
        return cls(lora, lora.shrink.x.clone(), (weight / 64).t())

    def product(self) -> None:
        torch.mm(self.lora.shrink.x, self.weight, out=self.lora.expand.out)

    def shrink(self) -> None:
        lora_shrink(self.lora.shrink, apart_shrink(self.lora))

    def expand(self) -> None:
        lora_expand(self.lora.expand, apart_expand(self.lora))


def alone(layer: Linear) -> None:
    layer.product()


def after(layer: Linear) -> None:
    layer.product()
    layer.shrink()
    layer.expand()


def pair(layer: Linear) -> None:
    layer.product()
    (m, k), (slices, _, rank) = layer.lora.shrink.x.shape, layer.lora.shrink.out.shape
    default = defaults.default_config(m, k, rank, max(layer.lora.expand.widths), slices)
    if default is not None:
        lora_linear(layer.lora, default)
    else:
        layer.shrink()
        layer.expand()


def beside(layer: Linear) -> None:
    """Hands the shrink to the GPU after the product, as the plug-in does."""
    device = layer.source.device
    mark = _SIDE.mark(device)
    layer.product()
    with _SIDE.after(mark, device):
        layer.shrink()
    layer.expand()


WAYS: dict[str, Callable[[Linear], None]] = {"after": after, "pair": pair, "beside": beside}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--blocks", type=int, default=8)
    arguments = parser.parse_args()
    data: dict[str, Any] = {"environment": current_environment().known, "rows": []}
    for model, layers in MODELS.items():
        for m in MS:
            blocks = arguments.blocks if m < _FEW else max(1, arguments.blocks // 4)
            data["rows"].append({"model": model, "m": m, **timed(layers, m, blocks)})
            arguments.out.write_text(json.dumps(data))
            print(data["rows"][-1], flush=True)


def timed(layers: tuple[Layer, ...], m: int, blocks: int) -> dict[str, float]:
    """Returns microseconds a block of the products, and how many more each way takes."""
    work = [Linear.of(layer, m, 100 * block + n) for block in range(blocks) for n, layer in enumerate(layers)]
    graphs = {name: captured(partial(step, work, way)) for name, way in {"alone": alone, **WAYS}.items()}
    samples: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(_ROUNDS):
        for name, graph in graphs.items():
            samples[name].append(replayed_us(graph) / blocks)
    us = {name: median(values) for name, values in samples.items()}
    return {"base_us": us["alone"], **{name: us[name] - us["alone"] for name in WAYS}}


def step(work: list[Linear], way: Callable[[Linear], None]) -> None:
    for layer in work:
        torch.mul(layer.source, 1, out=layer.lora.shrink.x)
        way(layer)


def replayed_us(graph: torch.cuda.CUDAGraph) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    elapsed_ms: float = start.elapsed_time(end)
    return 1e3 * elapsed_ms


if __name__ == "__main__":
    main()
