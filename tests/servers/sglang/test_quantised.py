"""Plans for SGLang of models with quantised weights (contracts B11)."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model.shape import read
from autotune.model.sources import Source
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from tests.builders.samples import EXPERT_FIELDS, SMALL_MODEL

MLP = ("gate_up_proj", "down_proj")


def plan(method: str | None, targets: tuple[str, ...] | None = None, **changes: Any) -> Plan:
    config = {**SMALL_MODEL, **changes, "quantization_config": method and {"quant_method": method}}
    serving = Serving("sglang", 1, 16, 4, target_modules=targets)
    return make(read(Source("model", "config.json", config), {}), serving, Batches())


def test_a_format_that_it_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="Unknown quantization method: hqq"):
        plan("hqq")


def test_sizes_are_those_of_plain_weights() -> None:
    of = {method: {shape.key for shape in plan(method).shapes} for method in (None, "awq", "bitsandbytes")}
    assert of[None] == of["awq"] == of["bitsandbytes"]


def test_lora_on_experts_is_refused_where_their_format_does_not_take_it() -> None:
    model: dict[str, Any] = {"architectures": ["Qwen3MoeForCausalLM"], **EXPERT_FIELDS}
    with pytest.raises(InputError, match="no LoRA on experts of awq weights"):
        plan("awq", MLP, **model)
    assert plan("fp8", (*MLP, "o_proj"), **model).shapes
    assert plan("awq", ("q_proj", "o_proj"), **model).shapes
    assert any("no LoRA on experts of awq weights" in line for line in plan("awq", **model).warnings)
    assert plan("awq", MLP).shapes
