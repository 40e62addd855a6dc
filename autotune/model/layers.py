"""Lists a model's layers that take LoRA, as one tensor-parallel worker holds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from autotune.model.shape import ModelShape
from autotune.model.wrapping import Wrapping

Kind = Literal["column", "row", "replicated", "embed", "lm_head"]
VOCAB_PADDING = 64
"""Vocabularies are padded to a multiple of it before they are sharded."""


@dataclass(frozen=True)
class Layer:
    """A linear layer, or several merged into one.

    Attributes:
        name: Our name for it, see `autotune.model.modules`; several layers may share it.
        kind: How it is sharded: ``column`` by outputs, ``row`` by inputs; the others not at all.
        inputs: Columns of a worker's A; 0 for an embedding, whose A is a lookup.
        widths: Output columns of each merged part of a worker's B.
        count: How many the model has.
        part_of: What tells it from another layer of the name; empty for the usual one.
    """

    name: str
    kind: Kind
    inputs: int
    widths: tuple[int, ...]
    count: int
    part_of: str = ""

    @property
    def slices(self) -> int:
        return len(self.widths)

    @property
    def label(self) -> str:
        name = f"{self.part_of}.{self.name}" if self.part_of else self.name
        return name if self.count == 1 else f"{name} x{self.count}"


@dataclass(frozen=True)
class ExpertLayer:
    """The routed experts of a layer, as one worker holds them.

    Attributes:
        experts: Of this worker.
        intermediate: Of one expert, on this worker.
        fused: Gate and up are one matrix.
        gated: There is a gate; else up alone.
    """

    hidden: int
    intermediate: int
    experts: int
    top_k: int
    fused: bool
    count: int
    gated: bool = True

    @property
    def label(self) -> str:
        return f"experts x{self.count}"


def dense_layers(model: ModelShape, wrapping: Wrapping) -> list[Layer]:
    """Returns the layers that are wrapped, without routers and routed experts."""
    h, tp = model.hidden, wrapping.tp
    q = model.heads * model.head_dim // tp
    kv = model.head_dim * max(1, model.kv_heads // tp)
    layers = [
        Layer("qkv_proj", "column", h, (q, kv, kv), model.layers),
        Layer("o_proj", "row", q, (h,), model.layers),
    ]
    if model.dense_layers:
        layers += _mlp(h, model.intermediate // tp, model.dense_layers)
    if model.experts and model.experts.shared:
        shared = _mlp(h, model.experts.shared // tp, model.experts.layers)
        layers += [replace(layer, part_of="shared_experts") for layer in shared]
    columns, *_ = head_columns(model.vocab, wrapping.head_shards)
    embedding = {
        "embed_tokens": Layer("embed_tokens", "embed", 0, (h,), 1),
        "lm_head": Layer("lm_head", "lm_head", h, (columns,), 1),
    }
    layers += [layer for name, layer in embedding.items() if name in wrapping.embeddings]
    if "lm_head" in wrapping.embeddings:
        smaller = _fewer_columns(model.vocab, wrapping.head_shards)
        layers += [replace(embedding["lm_head"], widths=(fewer,), part_of=f"rank {rank}") for rank, fewer in smaller]
    return [layer for layer in layers if wrapping.wraps(layer.name)]


def head_columns(vocab: int, shards: int) -> tuple[int, ...]:
    """Returns the columns of lm_head's B on each GPU: the last ones have what is left of the vocabulary."""
    padding = VOCAB_PADDING
    if -(-vocab // padding) * padding % shards:
        padding *= shards
    width = -(-vocab // padding) * padding // shards
    return tuple(min(width, vocab - rank * width) for rank in range(shards) if rank * width < vocab)


def _fewer_columns(vocab: int, shards: int) -> Iterator[tuple[int, int]]:
    """Yields the GPUs, of several, that have fewer columns than the first, with theirs."""
    first, *others = head_columns(vocab, shards)
    yield from ((rank, columns) for rank, columns in enumerate(others, start=1) if columns < first)


def _mlp(hidden: int, intermediate: int, count: int) -> list[Layer]:
    return [
        Layer("gate_up_proj", "column", hidden, (intermediate, intermediate), count),
        Layer("down_proj", "row", intermediate, (hidden,), count),
    ]
