"""The models whose linear layers the scripts of the plug-ins time, by the sizes of their blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

SPLIT: Final = " TP "
"""Stands between a model's name and the number of GPUs that share it."""


@dataclass(frozen=True)
class Layer:
    """A linear layer: its input's size, and the widths of its slices."""

    name: str
    inputs: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A decoder, by the number and the sizes of its blocks, and the rank of its adapters."""

    name: str
    blocks: int
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

    def split(self, gpus: int) -> Model:
        """Returns what each of so many GPUs has of it, under tensor parallelism without fully sharded LoRA."""
        if gpus == 1:
            return self
        parts = (self.attention // gpus, self.kv // gpus, self.intermediate // gpus)
        return replace(self, name=f"{self.name}{SPLIT}{gpus}", attention=parts[0], kv=parts[1], intermediate=parts[2])


MODELS: Final = (
    Model("Qwen3-8B", 36, 16, 4096, 4096, 1024, 12288),
    Model("Llama-3.1-8B", 32, 64, 4096, 4096, 1024, 14336),
    Model("Qwen3-Embedding-0.6B", 28, 64, 1024, 2048, 1024, 3072),
)
