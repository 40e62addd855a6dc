"""What SGLang looks up for models with multi-head latent attention, worked out by hand from its classes."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model import shape
from autotune.model.shape import ModelShape
from autotune.model.sources import Source
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving

DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
}
LITE = DEEPSEEK_V3 | {
    "architectures": ["DeepseekV2ForCausalLM"],
    "hidden_size": 2048,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "q_lora_rank": None,
}
"""DeepSeek-V2-Lite's attention: one projection to q, which no adapter's is merged with."""


def model(config: dict[str, Any], **changes: Any) -> ModelShape:
    return shape.read(Source("model", "config.json", config | changes), {})


def lookups(config: dict[str, Any], tp: int = 1, targets: tuple[str, ...] | None = None) -> set[tuple[Any, ...]]:
    plan = make(model(config), Serving("sglang", tp, 16, 4, target_modules=targets), Batches())
    return {(each.op, each.dims["K"], each.dims["S"], *each.flags.get("slice_widths", ())) for each in plan.shapes}


def test_each_projection_is_looked_up_by_its_shard() -> None:
    assert lookups(DEEPSEEK_V3, 8, ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")) == {
        ("shrink", 7168, 2),
        ("expand", 2112, 2, 1536, 576),
        ("shrink", 1536, 1),
        ("expand", 3072, 1, 3072),
        ("shrink", 512, 1),
        ("expand", 4096, 1, 4096),
        ("shrink", 2048, 1),
        ("expand", 7168, 1, 7168),
    }


def test_mlps_are_those_of_dense_layers_and_shared_experts() -> None:
    """A single shared expert beside 256 is run within their kernel."""
    dense = {
        ("shrink", 7168, 2),
        ("expand", 18432, 2, 9216, 9216),
        ("shrink", 9216, 1),
        ("expand", 7168, 1, 7168),
    }
    shared = {("expand", 2048, 2, 1024, 1024), ("shrink", 1024, 1)}
    mlps = ("gate_proj", "up_proj", "down_proj")
    assert lookups(DEEPSEEK_V3, 2, mlps) == dense
    assert lookups(DEEPSEEK_V3 | {"n_routed_experts": 384}, 2, mlps) == dense | shared


def test_without_a_latent_q_the_projections_to_q_and_the_latent_are_not_wrapped() -> None:
    assert lookups(LITE, 1, ("q_proj", "kv_a_proj_with_mqa", "kv_b_proj")) == {
        ("shrink", 512, 1),
        ("expand", 4096, 1, 4096),
    }
    plan = make(model(LITE), Serving("sglang", 1, 16, 4, target_modules=("q_proj", "kv_b_proj")), Batches())
    assert any("--target-modules: q_proj: nothing is planned" in line for line in plan.warnings)
    with pytest.raises(InputError, match="none of which"):
        lookups(LITE, 1, ("q_proj",))


def test_it_is_the_same_attention_whatever_else_the_model_has() -> None:
    """Without experts all layers have the dense MLP."""
    dense = {name: value for name, value in DEEPSEEK_V3.items() if "expert" not in name and "moe" not in name}
    plan = make(model(dense), Serving("sglang", 1, 16, 4), Batches())
    counts = {each.dims["K"]: each.count for each in plan.shapes if each.op == "expand"}
    assert counts[2 * 18432] == 61


PARTS = ("q_a_proj", "q_b_proj", "kv_b_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head")


@pytest.mark.parametrize("tp", [1, 2, 8])
@pytest.mark.parametrize(
    ("lacking", "layers"),
    [
        ("kv_lora_rank", {"fused_qkv_a_proj_with_mqa", "kv_b_proj"}),
        ("qk_nope_head_dim", {"q_b_proj", "kv_b_proj"}),
        ("qk_rope_head_dim", {"fused_qkv_a_proj_with_mqa", "q_b_proj"}),
        ("v_head_dim", {"o_proj", "kv_b_proj"}),
        ("num_attention_heads", {"q_b_proj", "kv_b_proj", "o_proj"}),
        ("intermediate_size", {"gate_up_proj", "down_proj"}),
        ("moe_intermediate_size", {"shared_experts.gate_up_proj", "shared_experts.down_proj"}),
        ("vocab_size", {"lm_head"}),
    ],
)
def test_a_config_without_a_size_is_planned_as_far_as_it_goes(lacking: str, layers: set[str], tp: int) -> None:
    """Of the layers that do not depend on it nothing changes; the others are named, with what gives the size."""
    config = {name: value for name, value in DEEPSEEK_V3.items() if name != lacking}
    serving = Serving("sglang", tp, 16, 4, target_modules=PARTS, shared_experts_apart=True)
    whole, part = (make(model(each), serving, Batches()) for each in (DEEPSEEK_V3, config))

    def by_layer(plan: Plan) -> dict[str, set[tuple[Any, ...]]]:
        found: dict[str, set[tuple[Any, ...]]] = {}
        for each in plan.shapes:
            for label in each.layers:
                found.setdefault(label.partition(" x")[0], set()).add(each.key)
        return found

    assert by_layer(part) == {name: keys for name, keys in by_layer(whole).items() if name not in layers}
    told = [line for line in part.warnings if f"not planned, since the config lacks {lacking}" in line]
    assert len(told) == 1
    assert all(name in told[0] for name in layers)
    assert f"--set {lacking}=N" in told[0]


def test_without_a_size_that_all_layers_follow_from_the_field_is_named() -> None:
    with pytest.raises(InputError, match="lacks hidden_size; give --set hidden_size=N"):
        lookups({name: value for name, value in DEEPSEEK_V3.items() if name != "hidden_size"})


def test_several_sizes_may_be_lacking() -> None:
    bare = ("qk_nope_head_dim", "v_head_dim", "moe_intermediate_size", "num_experts_per_tok", "intermediate_size")
    config = {name: value for name, value in DEEPSEEK_V3.items() if name not in bare}
    assert lookups(config, 1, PARTS[:-1]) == {("shrink", 7168, 2), ("expand", 2112, 2, 1536, 576)}


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InputError, match="num_attention_heads 128"):
        lookups(DEEPSEEK_V3, 3)


SMALL = DEEPSEEK_V3 | {
    "hidden_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "intermediate_size": 2816,
    "moe_intermediate_size": 512,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "q_lora_rank": 384,
    "kv_lora_rank": 256,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "vocab_size": 32000,
}
INDEX = {"index_n_heads": 8, "index_head_dim": 64, "index_topk": 64}
ATTENTION = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
PROJECTIONS = {
    ("shrink", 1024, 2),
    ("expand", 672, 2, 384, 288),
    ("shrink", 384, 1),
    ("expand", 1536, 1, 1536),
    ("shrink", 256, 1),
    ("expand", 2048, 1, 2048),
    ("shrink", 1024, 1),
    ("expand", 1024, 1, 1024),
}
"""Of these sizes, as SGLang 0.5.23's own classes and pool have them on the meta device."""


@pytest.mark.parametrize(
    "architecture",
    ["DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM", "Glm4MoeLiteForCausalLM", "LongcatFlashForCausalLM"],
)
def test_classes_with_the_same_attention_have_the_same_lookups(architecture: str) -> None:
    assert lookups(SMALL | INDEX | {"architectures": [architecture]}, 1, ATTENTION) == PROJECTIONS


def test_an_indexer_is_planned_where_it_is_named() -> None:
    config = SMALL | INDEX | {"architectures": ["DeepseekV32ForCausalLM"]}
    assert lookups(config, 2, ("wq_b", "wk", "weights_proj")) == {
        ("shrink", 384, 1),
        ("expand", 512, 1, 512),
        ("shrink", 1024, 1),
        ("expand", 64, 1, 64),
        ("expand", 8, 1, 8),
    }
    # A null is a size that the config lacks.
    assert lookups(config | {"index_head_dim": None}, 2, ("wq_b", "wk", "weights_proj")) == {
        ("shrink", 1024, 1),
        ("expand", 8, 1, 8),
    }
    assert ("expand", 512, 1, 512) not in lookups(config)
    assert ("expand", 512, 1, 512) in lookups(config, 1, ("all",))
    with pytest.raises(InputError, match="none of which"):
        lookups(config | {"index_topk": None}, 1, ("wk",))


@pytest.mark.parametrize("targets", [("wk",), ("all",)])
@pytest.mark.parametrize(
    ("architecture", "told"),
    [("GlmMoeDsaForCausalLM", {"indexer_rope_interleave": True})]
    + [("HYV4ForCausalLM", each) for each in ({}, {"indexer_rope_interleave": False})],
)
def test_an_indexer_whose_projections_are_merged_is_refused(
    architecture: str, told: dict[str, bool], targets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hunyuan V4's class merges them whatever its config says (contracts B4)."""
    config = SMALL | INDEX | {"architectures": [architecture]} | told
    with pytest.raises(InputError, match=r"indexer\.wk.*incompatible with its Q/K fusion"):
        lookups(config, 1, targets)
    monkeypatch.setenv("SGLANG_DISABLE_DSA_INDEXER_FUSION", "1")
    assert ("expand", 64, 1, 64) in lookups(config, 1, targets)


def test_two_attentions_a_layer_count_twice() -> None:
    longcat = SMALL | {
        "architectures": ["LongcatFlashForCausalLM"],
        "n_shared_experts": None,
        "first_k_dense_replace": 0,
    }
    plan = make(model(longcat), Serving("sglang", 1, 16, 4), Batches())
    counts = {each.dims["K"]: each.count for each in plan.shapes if each.op == "expand"}
    assert counts[672] == 8
    assert 2 * 2816 not in counts
    assert any("gate_up_proj, down_proj: not planned: SGLang stops (KeyError" in line for line in plan.warnings)


@pytest.mark.parametrize(
    ("architecture", "found"),
    [
        ("MiniCPM3ForCausalLM", {("shrink", 384, 1), ("expand", 1536, 1, 1536)}),
        (
            "SarvamMLAForCausalLM",
            {("shrink", 384, 1), ("expand", 1536, 1, 1536), ("shrink", 256, 1), ("expand", 2048, 1, 2048)},
        ),
    ],
)
def test_projections_that_are_apart_are_not_wrapped(architecture: str, found: set[tuple[Any, ...]]) -> None:
    config = SMALL | {"architectures": [architecture]}
    of_o_proj = {("shrink", 1024, 1), ("expand", 1024, 1, 1024)}
    assert lookups(config, 1, ATTENTION) == found | of_o_proj
