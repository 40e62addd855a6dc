"""A model's layers that take LoRA, as one tensor-parallel worker holds them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from autotune.model.shape import ModelShape
from autotune.servers.serving import Serving

Kind = Literal["column", "row", "replicated", "embed", "lm_head"]
VOCAB_PADDING = 64
"""Vocabularies are padded to a multiple of it before they are sharded."""


@dataclass(frozen=True)
class Layer:
    """A linear layer, or several merged into one.

    Attributes:
        name: Our name for it, see `autotune.servers.serving`; several layers may share it.
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
    """

    hidden: int
    intermediate: int
    experts: int
    top_k: int
    fused: bool
    count: int

    @property
    def label(self) -> str:
        return f"experts x{self.count}"


def dense_layers(model: ModelShape, serving: Serving) -> list[Layer]:
    """The layers but for routed experts.

    A packed qkv or gate_up is one slice to vLLM; SGLang stacks it as any other (contracts A5, B4). vLLM wraps
    embed_tokens and lm_head where its class of the model says so (A5), and MoE routers; SGLang wraps embeddings only
    where they are named, and no routers (B4).
    """
    h, tp = model.hidden, serving.tp
    q = model.heads * model.head_dim // tp
    kv = model.head_dim * max(1, model.kv_heads // tp)
    packed = model.packed and serving.server == "vllm"
    layers = [
        Layer("qkv_proj", "column", h, (q + 2 * kv,) if packed else (q, kv, kv), model.layers),
        Layer("o_proj", "row", q, (h,), model.layers),
    ]
    if model.dense_layers:
        layers += _mlp(h, model.intermediate // tp, model.dense_layers, packed)
    if model.experts:
        if model.experts.gate and serving.server == "vllm":
            layers.append(Layer("gate", "replicated", h, (model.experts.count,), model.experts.layers))
        if model.experts.shared:
            shared = _mlp(h, model.experts.shared // tp, model.experts.layers, packed)
            layers += [replace(layer, part_of="shared_experts") for layer in shared]
    embedding = {
        "embed_tokens": Layer("embed_tokens", "embed", 0, (h,), 1),
        "lm_head": Layer("lm_head", "lm_head", h, (_head_columns(model, serving),), 1),
    }
    wanted = model.embedding_modules if serving.server == "vllm" else serving.target_modules or ()
    layers += [layer for name, layer in embedding.items() if name in wanted]
    return [layer for layer in layers if serving.wraps(layer.name)]


def expert_layer(model: ModelShape, serving: Serving) -> ExpertLayer | None:
    """The routed experts, if the server wraps them. Under expert parallelism whole experts are shared out (A6)."""
    if model.experts is None or not serving.wraps("experts"):
        return None
    e, tp, whole = model.experts, serving.tp, serving.expert_parallel
    return ExpertLayer(
        hidden=model.hidden,
        intermediate=e.intermediate if whole else e.intermediate // tp,
        experts=e.count // tp if whole else e.count,
        top_k=e.top_k,
        fused=e.fused,
        count=e.layers,
    )


def _head_columns(model: ModelShape, serving: Serving) -> int:
    """Output columns of lm_head's B: vLLM gathers the logits first (contracts A5), SGLang keeps its shard (B4)."""
    if serving.server == "vllm":
        return model.vocab
    padded = -(-model.vocab // VOCAB_PADDING) * VOCAB_PADDING if serving.tp > 1 else model.vocab
    return padded // serving.tp


def _mlp(hidden: int, intermediate: int, count: int, packed: bool) -> list[Layer]:
    widths = (2 * intermediate,) if packed else (intermediate, intermediate)
    return [
        Layer("gate_up_proj", "column", hidden, widths, count),
        Layer("down_proj", "row", intermediate, (hidden,), count),
    ]
