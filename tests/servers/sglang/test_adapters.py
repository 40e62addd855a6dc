"""Adapters that SGLang's loader refuses, and those that it takes (contracts B6)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.servers.sglang.adapters import problems

CASES = Path(__file__).parents[2] / "data" / "cases"
PLAIN = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj"]}


@pytest.mark.parametrize(
    ("case", "field"),
    [
        ("21-adapter-dora", "DoRA"),
        ("21-adapter-loha", "lora_alpha missing"),
        ("23-sglang-regex-adapter", "is the pattern"),
        ("24-sglang-gate-target", "gate: get_hidden_dim not implemented"),
    ],
)
def test_reported_adapters_are_refused(case: str, field: str) -> None:
    config = json.loads((CASES / case / "adapter_config.json").read_text())
    assert any(field in problem for problem in problems(config))


@pytest.mark.parametrize(("targets", "refused"), [(["layers.0.q_proj"], 0), ("all", 0), ("all-linear", 0), (3, 1)])
def test_target_modules(targets: Any, refused: int) -> None:
    assert len(list(problems({**PLAIN, "target_modules": targets}))) == refused
