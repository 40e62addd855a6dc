"""Knows what a model's architecture says beyond its config: defaults of fields, and what adapters store as one
matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EMBEDDINGS = ("embed_tokens", "lm_head")


@dataclass(frozen=True)
class Family:
    """One architecture, as far as its config does not tell it.

    Attributes:
        fused_experts: Gate and up weights of an expert are one matrix.
        packed: An adapter has one matrix for its qkv and one for its gate_up, not one for each part.
        defaults: Values of fields that its configs leave out, since its configuration class has them.
        checked: Its lookups were compared with a server's (contracts A7).
    """

    fused_experts: bool = False
    packed: bool = False
    defaults: Mapping[str, int] = field(default_factory=dict)
    checked: bool = False


_LLAMA4 = {"n_shared_experts": 1}
# Gemma 3's smaller models state none of these.
_GEMMA3 = {"vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}

FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": Family(checked=True),
    "Qwen3ForCausalLM": Family(checked=True),
    "Qwen3MoeForCausalLM": Family(checked=True),
    "MistralForCausalLM": Family(),
    "MixtralForCausalLM": Family(),
    "Phi3ForCausalLM": Family(packed=True),
    "Qwen2ForCausalLM": Family(),
    "Qwen2MoeForCausalLM": Family(),
    "Glm4MoeForCausalLM": Family(),
    # Each of its MoE layers has a shared expert as wide as the others, which its configs do not mention.
    "Llama4ForCausalLM": Family(defaults=_LLAMA4),
    "Llama4ForConditionalGeneration": Family(defaults=_LLAMA4),
    "Gemma3ForCausalLM": Family(defaults=_GEMMA3),
    "Gemma3ForConditionalGeneration": Family(defaults=_GEMMA3),
    "GptOssForCausalLM": Family(fused_experts=True),
}

# Fields of configs whose LoRA shapes do not follow from the sizes alone (contracts A7, last line).
_UNDERIVABLE = {
    "kv_lora_rank": "multi-head latent attention",
    "linear_num_key_heads": "linear attention",
    "mamba_d_state": "state-space layers",
    "ssm_state_size": "state-space layers",
    "state_size": "state-space layers",
}


def without_other_layers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config as if its model had attention of the usual kind in all layers."""
    kept = {name: value for name, value in config.items() if name not in _UNDERIVABLE}
    return {name: without_other_layers(value) if isinstance(value, dict) else value for name, value in kept.items()}


def underivable(config: Mapping[str, Any]) -> str | None:
    """Returns what in a config keeps its LoRA shapes from being worked out here, or None."""
    for name, what in _UNDERIVABLE.items():
        if config.get(name):
            return f"{what} ({name})"
    return "an encoder and a decoder (is_encoder_decoder)" if config.get("is_encoder_decoder") else None
