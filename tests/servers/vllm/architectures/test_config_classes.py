"""What configuration classes refuse of a config, and a plan with them."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import InputError
from autotune.servers.vllm.architectures.config_classes import check_class, check_numbers

LLAMA: dict[str, Any] = {
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_hidden_layers": 2,
    "num_key_value_heads": None,
}


@pytest.mark.parametrize(
    ("model_type", "fields", "told"),
    [
        ("llama", {"vocab_size": None}, "vocab_size: got None, which the configuration class of llama refuses"),
        ("llama", {"intermediate_size": [8, 8]}, "intermediate_size: got"),
        ("llama", {"num_attention_heads": 12}, "hidden_size 2048: no multiple of num_attention_heads 12"),
        ("llama", {"hidden_size": 1000}, "hidden_size 1000: no multiple of num_attention_heads 16"),
        ("qwen3", {"layer_types": ["full_attention"]}, "layer_types: got 1 kinds of layers for num_hidden_layers 2"),
        ("llama", {"max_position_embeddings": None}, "max_position_embeddings: got None"),
        ("llama4_text", {"num_key_value_heads": 8, "attn_temperature_tuning": 4}, "attn_temperature_tuning: got 4"),
        ("llama", {"attention_bias": 0.0}, r"attention_bias: got 0\.0"),
        ("llama", {"attention_bias": "false"}, "attention_bias: got 'false'"),
        ("persimmon", {}, "num_key_value_heads: got None"),
        ("nemotron", {}, "num_key_value_heads"),
    ],
)
def test_what_a_class_refuses_is_named(model_type: str, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_class({**LLAMA, **fields}, model_type, "config.json")


def test_what_a_class_takes_and_what_is_not_known_pass() -> None:
    check_class(LLAMA, "llama", "config.json")
    check_class({**LLAMA, "num_attention_heads": 12, "num_key_value_heads": 4}, "qwen3", "config.json")
    check_class({**LLAMA, "num_key_value_heads": 4, "attention_bias": True}, "llama", "config.json")
    check_class({**LLAMA, "vocab_size": None}, "one_of_a_repository", "config.json")
    check_class({**LLAMA, "num_hidden_layers": 2, "layer_types": ["full_attention"]}, None, "config.json")


@pytest.mark.parametrize(
    "name", ["hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "rope_theta"]
)
def test_numbers_of_each_language_model_are_not_null(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: got null, and vLLM stops"):
        check_numbers({name: None}, "config.json")


def test_other_nulls_pass_and_the_rope_may_stand_by_itself() -> None:
    check_numbers({"head_dim": None, "rope_scaling": None}, "config.json")
    check_numbers({"rope_theta": None, "rope_parameters": {"rope_theta": 1e6}}, "config.json")
