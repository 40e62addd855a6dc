"""Reads lookups off wrapped layers (contracts A5, A6): from the sizes of their stacked A and B, not from a config.

It goes by names of classes and attributes, so it imports nothing of the server.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from autotune.model.layers import Kind
from autotune.servers.vllm.from_server.answer import DenseAnswer, ExpertAnswer, WrappedAnswer
from autotune.servers.vllm.from_server.calls import is_called

_KINDS: dict[str, Kind] = {
    "RowParallelLinear": "row",
    "ColumnParallelLinear": "column",
    "ReplicatedLinear": "replicated",
    "VocabParallelEmbedding": "embed",
}

# What holds the hidden states of whole requests calls them.
_HEADS = ("lm_head", "score", "classifier")


def read(manager: Any) -> WrappedAnswer:
    """Returns the lookups of a LoRA manager's layers."""
    dense, experts = Counter[DenseAnswer](), Counter[ExpertAnswer]()
    uncalled = dict[str, None]()
    for path, layer in manager.modules.items():
        name = path.rpartition(".")[2]
        if hasattr(layer, "w13_lora_a_stacked"):
            experts[_experts(layer)] += 1
        elif not hasattr(layer, "lora_a_stacked"):
            continue  # a classification head of full weight looks nothing up
        elif name in _HEADS or is_called(layer, manager.model):
            dense[_dense(path, layer)] += 1
        else:
            uncalled[name] = None
    return WrappedAnswer(tuple(dense.items()), tuple(experts.items()), tuple(uncalled))


def _dense(path: str, layer: Any) -> DenseAnswer:
    *parents, name = path.split(".")
    part = next((each for each in reversed(parents) if "shared" in each), "")
    a, b = _stack(layer.lora_a_stacked), _stack(layer.lora_b_stacked)
    kind: Kind = "lm_head" if name == "lm_head" else _kind(layer.base_layer)
    embeds = kind == "embed"
    return DenseAnswer(
        name=name,
        part_of=part,
        kind=kind,
        inputs=0 if embeds else int(a[0].shape[-1]),
        rows=int(b[0].shape[-1] if embeds else a[0].shape[-2]),
        widths=tuple(int(each.shape[-2]) for each in b),
    )


def _experts(layer: Any) -> ExpertAnswer:
    a, b = layer.w13_lora_a_stacked, layer.w13_lora_b_stacked
    config = getattr(layer, "moe_config", None) or layer.base_layer.moe_config  # the latter up to 0.23
    return ExpertAnswer(
        hidden=int(a[0].shape[-1]),
        slices=len(a),
        width=int(b[0].shape[-2]),
        intermediate=int(layer.w2_lora_a_stacked[0].shape[-1]),
        experts=int(config.num_local_experts),
        top_k=int(config.experts_per_token),
    )


def _stack(tensors: Any) -> tuple[Any, ...]:
    return tuple(tensors) if isinstance(tensors, tuple | list) else (tensors,)


def _kind(layer: Any) -> Kind:
    for base in type(layer).__mro__:
        if base.__name__ in _KINDS:
            return _KINDS[base.__name__]
    return "replicated"
