"""The fields of a model's config that are read, under the names that different model families give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.errors import InputError, one_of

NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "num_key_value_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "intermediate_size": ("intermediate_size_mlp", "intermediate_size", "ffn_hidden_size"),
    "vocab_size": ("vocab_size",),
    "num_experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "num_experts_per_tok": (
        "num_experts_per_tok",
        "num_experts_per_token",
        "moe_top_k",
        "moe_k",
        "top_k_experts",
        "top_k",
    ),
    "moe_intermediate_size": ("moe_intermediate_size", "intermediate_size"),
    "shared_expert_intermediate_size": ("shared_expert_intermediate_size",),
    "n_shared_experts": ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
    "first_k_dense_replace": ("first_k_dense_replace",),
    "decoder_sparse_step": ("decoder_sparse_step",),
    "moe_layer_freq": ("moe_layer_freq",),
    "interleave_moe_layer_step": ("interleave_moe_layer_step",),
}
"""For each size its names, the one that counts first; the others are read where that is absent."""


class Fields:
    """Integer fields of a config, by our names for them."""

    def __init__(self, origin: str, config: Mapping[str, Any]) -> None:
        self.origin = origin
        self.config = config

    def get(self, name: str) -> int | None:
        for field in NAMES[name]:
            value = self.config.get(field)
            if value is None or isinstance(value, bool):
                continue
            if not isinstance(value, int) or value < 0:
                raise InputError(
                    f"{self.origin}: {field}: got {value!r}, allowed: one integer for all layers; give --set {name}=N"
                )
            return value
        return None

    def __getitem__(self, name: str) -> int:
        if (value := self.get(name)) is None:
            raise KeyError(name)
        return value

    def integers(self, field: str) -> tuple[int, ...]:
        """A list of a number for each of some, or all, layers; empty where there is none."""
        value = self.config.get(field)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(type(each) is int for each in value):
            raise InputError(f"{self.origin}: {field}: got {value!r}, allowed: a list of integers; mend it")
        return tuple(value)

    def require(self, *names: str) -> None:
        if missing := [name for name in names if not self.get(name)]:
            raise InputError(
                f"{self.origin}: lacks {one_of(missing)}; give " + " ".join(f"--set {name}=N" for name in missing)
            )
