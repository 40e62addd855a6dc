"""GLM-5-Next on SGLang: its linear attention has a merged qkv_proj, which the pool may have no place for."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model.shape import read
from autotune.model.sources import Source
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving

TEXT: dict[str, Any] = {
    "model_type": "glm5_next_text",
    "hidden_size": 2048,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 192,
    "intermediate_size": 4992,
    "vocab_size": 32000,
    "num_hidden_layers": 4,
    "q_lora_rank": 768,
    "kv_lora_rank": 256,
    "qk_nope_head_dim": 256,
    "qk_rope_head_dim": 0,
    "v_head_dim": 256,
    "linear_num_heads": 16,
    "linear_head_dim": 96,
}
QKV = ("q_proj", "k_proj", "v_proj")


def plan(tp: int = 1, targets: tuple[str, ...] | None = QKV, **changes: Any) -> Plan:
    config = {"architectures": ["Glm5NextForConditionalGeneration"], "text_config": TEXT | changes}
    serving = Serving("sglang", tp, 16, 4, target_modules=targets)
    return make(read(Source("model", "config.json", config), {}), serving, Batches())


def lookups(found: Plan) -> set[tuple[Any, ...]]:
    return {(each.op, each.dims["K"], each.dims["S"], each.count) for each in found.shapes}


@pytest.mark.parametrize("tp", [1, 2])
def test_it_is_planned_where_the_pool_has_its_size(tp: int) -> None:
    assert lookups(plan(tp)) == {("shrink", 2048, 3, 3), ("expand", 4608 // tp, 3, 3)}


def test_its_layers_are_those_that_the_config_lists() -> None:
    kinds = ["linear_attention", "full_attention"] * 2
    assert {count for *_, count in lookups(plan(layer_types=kinds))} == {2}
    own = {"num_heads": 16, "head_dim": 96, "kda_layers": [0]}
    assert {count for *_, count in lookups(plan(linear_attn_config=own, linear_num_heads=1))} == {1}


def test_q_k_and_v_are_refused_where_it_has_not() -> None:
    with pytest.raises(InputError, match="of 4608 columns together, and SGLang's pool has 1536"):
        plan(head_dim=64)
    with pytest.raises(InputError, match="SGLang's pool has 0"):
        plan(targets=("all",), num_key_value_heads=None)
    found = plan(targets=None, head_dim=64)
    assert not any(each.dims["S"] == 3 for each in found.shapes)
    assert any("qkv_proj: not planned" in line for line in found.warnings)
