"""What a model's architecture says beyond its sizes: which modules take LoRA, and how experts are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EMBEDDINGS = ("embed_tokens", "lm_head")


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        embedding_modules: Modules besides the layers whose class lets them take LoRA (contracts A5).
        gate: The router of its experts is a linear layer that takes LoRA too.
        fused_experts: Gate and up weights of an expert are one matrix (``3D`` experts; contracts A1).
        packed: Its qkv and its gate_up take one LoRA each, not one for each part (contracts A5).
        padded_experts: The server may round the experts' sizes up, so their keys need a check.
        defaults: Values of fields that its configs leave out, since its configuration class has them.
        checked: Its lookups were compared with a server's (contracts A7).
    """

    embedding_modules: tuple[str, ...] = EMBEDDINGS
    gate: bool = True
    fused_experts: bool = False
    packed: bool = False
    padded_experts: bool = False
    defaults: Mapping[str, int] = field(default_factory=dict)
    checked: bool = False


_LLAMA4 = {"n_shared_experts": 1}
# Gemma 3's smaller models state none of these.
_GEMMA3 = {"vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}

FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": Family(checked=True),
    "Qwen3ForCausalLM": Family(checked=True),
    "Qwen3MoeForCausalLM": Family(checked=True),
    # Its model class says that it takes no LoRA on embeddings.
    "MistralForCausalLM": Family(embedding_modules=()),
    "MixtralForCausalLM": Family(),
    "Phi3ForCausalLM": Family(packed=True),
    "Qwen2ForCausalLM": Family(),
    "Qwen2MoeForCausalLM": Family(),
    "Glm4MoeForCausalLM": Family(gate=False),
    # Each of its MoE layers has a shared expert as wide as the others, which its configs do not mention.
    "Llama4ForCausalLM": Family(defaults=_LLAMA4),
    "Llama4ForConditionalGeneration": Family(defaults=_LLAMA4),
    "Gemma3ForCausalLM": Family(embedding_modules=(), defaults=_GEMMA3),
    "Gemma3ForConditionalGeneration": Family(embedding_modules=(), defaults=_GEMMA3),
    "GptOssForCausalLM": Family(embedding_modules=(), fused_experts=True, padded_experts=True),
}

# Fields of configs whose LoRA shapes do not follow from the sizes alone (contracts A7, last line).
_UNDERIVABLE = {
    "kv_lora_rank": "multi-head latent attention",
    "linear_num_key_heads": "linear attention",
    "mamba_d_state": "state-space layers",
    "ssm_state_size": "state-space layers",
    "state_size": "state-space layers",
}


def underivable(config: Mapping[str, Any]) -> str | None:
    """Returns what in a config keeps its LoRA shapes from being worked out here, or None."""
    for name, what in _UNDERIVABLE.items():
        if config.get(name):
            return f"{what} ({name})"
    return "an encoder and a decoder (is_encoder_decoder)" if config.get("is_encoder_decoder") else None
