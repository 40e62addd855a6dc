"""Shared experts that SGLang's classes run within the experts' kernel, as 0.5.23's own classes are built."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.model import shape
from autotune.model.sources import Source
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from tests.builders.samples import SMALL_MODEL

EXPERTS = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 704, "first_k_dense_replace": 1}
GLM = SMALL_MODEL | EXPERTS | {"architectures": ["Glm4MoeForCausalLM"], "n_shared_experts": 1}
NEXT = SMALL_MODEL | {
    "architectures": ["Qwen3NextForCausalLM"],
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "linear_num_key_heads": 16,
    "full_attention_interval": 4,
}


def plan(config: dict[str, Any], **flags: Any) -> Plan:
    model = shape.read(Source("model", "config.json", config), {})
    return make(model, Serving("sglang", 1, 16, 4, **flags), Batches())


def has_shared(found: Plan) -> bool:
    return any("shared_experts" in label for each in found.shapes for label in each.layers)


@pytest.mark.parametrize("config", [GLM, NEXT], ids=["glm", "qwen3-next"])
def test_nothing_is_looked_up_for_experts_that_are_fused(config: dict[str, Any]) -> None:
    fused, apart = plan(config), plan(config, shared_experts_apart=True)
    assert not has_shared(fused)
    assert has_shared(apart)
    assert any("give --disable-shared-experts-fusion where the server has it" in line for line in fused.warnings)
    assert not any("--disable-shared-experts-fusion" in line for line in apart.warnings)


def test_experts_that_are_spread_have_theirs_apart_but_for_qwen3_next() -> None:
    spread = {"expert_parallel": True}
    model = shape.read(Source("model", "config.json", GLM), {})
    assert has_shared(make(model, Serving("sglang", 2, 16, 4, expert_parallel=True), Batches()))
    assert not has_shared(plan(GLM, **spread))  # one GPU has all experts
    other = shape.read(Source("model", "config.json", NEXT), {})
    assert not has_shared(make(other, Serving("sglang", 2, 16, 4, expert_parallel=True), Batches()))


def test_shared_experts_of_another_width_or_kind_of_weights_are_not_fused() -> None:
    assert has_shared(plan(NEXT | {"shared_expert_intermediate_size": 1024}))
    assert has_shared(plan(GLM | {"quantization_config": {"quant_method": "w4afp8"}}))
    assert has_shared(plan(GLM | {"architectures": ["Glm4MoeLiteForCausalLM"], "n_shared_experts": 2}))
