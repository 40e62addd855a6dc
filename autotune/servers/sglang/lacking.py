"""Models whose config lacks a size: which layers are known all the same, and what to say of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from autotune.errors import one_of
from autotune.model.fields import remedy
from autotune.model.layers import Layer
from autotune.model.shape import ModelShape

_LAYERS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "num_attention_heads": ("qkv_proj", "o_proj", "q_b_proj", "kv_b_proj"),
    "intermediate_size": ("gate_up_proj", "down_proj"),
    "moe_intermediate_size": ("shared_experts.gate_up_proj", "shared_experts.down_proj"),
    "vocab_size": ("lm_head",),
    "kv_lora_rank": ("fused_qkv_a_proj_with_mqa", "kv_b_proj"),
    "qk_nope_head_dim": ("q_b_proj", "kv_b_proj"),
    "qk_rope_head_dim": ("fused_qkv_a_proj_with_mqa", "q_b_proj"),
    "v_head_dim": ("o_proj", "kv_b_proj"),
    "q_lora_rank": ("indexer.wq_b",),
    "index_n_heads": ("indexer.wq_b", "indexer.weights_proj"),
    "index_head_dim": ("indexer.wq_b", "indexer.wk"),
}
"""For each field the layers whose sizes follow from it, beside the hidden size. With latent attention o_proj takes of a
head what `v_head_dim` says."""


def known(model: ModelShape, layers: Sequence[Layer]) -> list[Layer]:
    """Returns the layers whose sizes are known; of a model whose number of layers is not, each once."""
    unknown = {name for field in model.lacking for name in _LAYERS_OF.get(field, ())}
    found = [layer for layer in layers if _name(layer) not in unknown]
    return [replace(layer, count=1) for layer in found] if "num_hidden_layers" in model.lacking else found


def notes(model: ModelShape, layers: Sequence[Layer]) -> Iterator[str]:
    """Tells what of a model's layers is not planned, and what gives it; one line each."""
    there = {_name(layer) for layer in layers}
    fields = [field for field in model.lacking if there & set(_LAYERS_OF.get(field, ()))]
    if fields:
        names = one_of(name for field in fields for name in _LAYERS_OF[field] if name in there)
        yield (
            f"{names}: not planned, since the config lacks {one_of(fields)}; give {remedy(fields)}, or the server has "
            "its default for them"
        )
    if "num_hidden_layers" in model.lacking:
        yield "the config lacks num_hidden_layers: how often each is looked up is not known; --set num_hidden_layers=N"


def _name(layer: Layer) -> str:
    return f"{layer.part_of}.{layer.name}" if layer.part_of == "shared_experts" else layer.name
