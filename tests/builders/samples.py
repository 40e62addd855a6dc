"""Config entries and models that several tests start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VLLM_ENTRY: dict[str, Any] = {
    "block_m": 16,
    "block_n": 32,
    "block_k": 64,
    "split_k": 1,
    "num_warps": 4,
    "num_ctas": 1,
    "num_stages": 2,
    "max_nreg": None,
    "group_size_m": 8,
}
"""Complete, as vLLM's dense ops read it."""

RECORDED_MODEL: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 5120,
    "intermediate_size": 4096,
    "num_hidden_layers": 2,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
}
"""A model whose o_proj looks up just what was recorded."""


def write_recorded_model(folder: Path) -> None:
    """Makes the folder of that model."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(RECORDED_MODEL))


SMALL_MODEL: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
}
"""A model without experts."""

DECODER_BLOCK: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "num_hidden_layers": 28,
    "vocab_size": 151669,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
}
"""Qwen3-Embedding-0.6B, whose block's csgmv lookups were recorded."""

BLOCK_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 768}
"""What makes experts of its MLP, once a number of experts is there."""

EXPERT_FIELDS: dict[str, Any] = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512}
"""What makes experts of its MLPs."""
