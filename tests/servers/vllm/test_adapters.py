"""Adapters that vLLM's loader refuses, by its own fields, and those that it takes (contracts A9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.servers.vllm.adapters import problems

CASES = Path(__file__).parents[2] / "data" / "cases"
PLAIN = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj"], "bias": "none"}


@pytest.mark.parametrize(
    ("case", "field"),
    [
        ("21-adapter-dora", "DoRA"),
        ("21-adapter-mts", "modules_to_save lm_head, embed_tokens"),
        ("21-adapter-pissa", "init_lora_weights pissa_niter_4"),
        ("21-adapter-bias", "lora_bias"),
        ("21-adapter-exclude", "layer_replication"),
        ("21-adapter-loha", "lora_alpha missing"),
    ],
)
def test_reported_adapters_are_refused(case: str, field: str) -> None:
    config = json.loads((CASES / case / "adapter_config.json").read_text())
    assert any(field in problem for problem in problems({**config, "r": 16}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_qalora", True),
        ("use_bdlora", {"nblocks": 2}),
        ("alora_invocation_tokens", [1, 2]),
        ("init_lora_weights", "OLoRA"),
        ("init_lora_weights", "loftq"),
        ("bias", "all"),
        ("modules_to_save", ["score", "embed_tokens"]),
        ("peft_type", "LOKR"),
        ("lora_alpha", None),
        ("r", None),
    ],
)
def test_each_other_feature_is_refused_once(field: str, value: Any) -> None:
    assert len(list(problems({**PLAIN, field: value}))) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("init_lora_weights", "gaussian"),
        ("init_lora_weights", False),
        ("modules_to_save", ["score"]),
        ("modules_to_save", None),
        ("use_rslora", True),
        ("rank_pattern", {"q_proj": 8}),
        ("target_modules", ".*q_proj"),
    ],
)
def test_what_the_loader_takes_is_taken(field: str, value: Any) -> None:
    assert list(problems({**PLAIN, field: value})) == []
