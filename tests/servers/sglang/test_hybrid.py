"""Models with linear attention or state spaces on SGLang: what is known is planned, and the rest is named.

Widths are those of SGLang 0.5.23's own classes and pool, built without weights on the meta device.
"""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model import shape
from autotune.model.sources import Source
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving

ATTENTION: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "intermediate_size": 2816,
    "vocab_size": 32000,
}
LINEAR: dict[str, Any] = {
    "linear_num_key_heads": 8,
    "linear_num_value_heads": 16,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "full_attention_interval": 4,
}
EXPERTS: dict[str, Any] = {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 768,
}
MLP = {("shrink", 1024, 2), ("expand", 5632, 2), ("shrink", 2816, 1), ("expand", 1024, 1)}
OUT = {("shrink", 1024, 1), ("expand", 1024, 1)}
GATED_QKV = {("shrink", 1024, 3), ("expand", 2560, 3)}


def plan(architecture: str, tp: int = 1, targets: tuple[str, ...] | None = None, **fields: Any) -> Plan:
    config = {"architectures": [architecture], **ATTENTION, **fields}
    return make(
        shape.read(Source("model", "config.json", config), {}),
        Serving("sglang", tp, 16, 4, target_modules=targets),
        Batches(),
    )


def lookups(found: Plan) -> set[tuple[Any, ...]]:
    return {(each.op, each.dims["K"], each.dims["S"]) for each in found.shapes}


def told(found: Plan, part: str) -> bool:
    return any(part in line for line in found.warnings)


def test_a_gate_beside_q_that_the_pool_knows_makes_it_twice_as_wide() -> None:
    found = plan("Qwen3_5ForConditionalGeneration", **LINEAR)
    assert lookups(found) == MLP | OUT | GATED_QKV
    assert told(found, "the projections of such layers are not planned; plan --trace")
    without = plan("Qwen3_5ForConditionalGeneration", **LINEAR, attn_output_gate=False)
    assert lookups(without) == MLP | OUT | {("shrink", 1024, 3), ("expand", 1536, 3)}


def test_all_names_the_projections_of_its_linear_attention_too() -> None:
    found = plan("Qwen3_5ForConditionalGeneration", targets=("all",), **LINEAR)
    packed = {("shrink", 1024, 4), ("expand", 3072, 4)}
    head = {("expand", 32000, 1)}
    assert lookups(found) == MLP | OUT | GATED_QKV | packed | head
    (widths,) = (each.flags["slice_widths"] for each in found.shapes if each.dims["S"] == 4 and each.op == "expand")
    assert widths == (512, 512, 1024, 1024)


def test_shared_experts_are_as_wide_as_their_own_field() -> None:
    found = plan("Qwen3_5MoeForConditionalGeneration", **LINEAR, **EXPERTS)
    assert lookups(found) == OUT | GATED_QKV | {("shrink", 1024, 2), ("expand", 1536, 2), ("shrink", 768, 1)}


@pytest.mark.parametrize("architecture", ["Qwen3NextForCausalLM", "Qwen3_5MoeForCausalLM", "NewLinearForCausalLM"])
def test_a_gate_that_the_pool_does_not_know_leaves_qkv_out(architecture: str) -> None:
    found = plan(architecture, 2, **LINEAR, **EXPERTS)
    assert lookups(found) == {
        ("shrink", 1024, 2),
        ("expand", 768, 2),
        ("shrink", 384, 1),
        ("expand", 1024, 1),
        ("shrink", 512, 1),
    }
    assert told(found, "qkv_proj: not planned")


@pytest.mark.parametrize(
    ("architecture", "kinds", "count"),
    [
        ("FalconH1ForCausalLM", {}, 4),
        ("GraniteMoeHybridForCausalLM", {"layer_types": ["mamba", "attention", "mamba", "mamba"]}, 1),
        ("NemotronHForCausalLM", {"hybrid_override_pattern": "M-*-"}, 1),
        ("NewMambaForCausalLM", {"layers_block_type": ["mamba", "attention", "attention", "mamba"]}, 2),
    ],
)
def test_beside_state_spaces_attention_is_planned_as_often_as_it_is_there(
    architecture: str, kinds: dict[str, Any], count: int
) -> None:
    found = plan(architecture, mamba_d_state=64, **kinds)
    assert {("shrink", 1024, 3), ("expand", 1536, 3), *OUT} <= lookups(found)
    assert {each.count for each in found.shapes if each.dims["S"] == 3} == {count}
    assert told(found, "state-space layers (mamba_d_state)")
    has_mlps = architecture in ("FalconH1ForCausalLM", "NewMambaForCausalLM")
    assert (lookups(found) >= MLP, told(found, "gate_up_proj")) == (has_mlps, not has_mlps)


NEMOTRON: dict[str, Any] = {
    "ssm_state_size": 64,
    "mamba_num_heads": 32,
    "mamba_head_dim": 64,
    "hybrid_override_pattern": "M*E-",
}


def test_an_mlp_without_a_gate_has_its_output_planned_beside_experts_too() -> None:
    dense = plan("NemotronHForCausalLM", 2, **NEMOTRON | {"hybrid_override_pattern": "M-*-"})
    assert {each.dims["K"]: each.count for each in dense.shapes if each.op == "shrink"} == {1024: 1, 512: 1, 1408: 2}
    assert told(dense, "gate_up_proj: not planned")
    shared: dict[str, Any] = {"n_shared_experts": 1, "moe_shared_expert_intermediate_size": 768}
    sparse = plan("NemotronHForCausalLM", 2, **NEMOTRON, **EXPERTS, **shared)
    assert {each.dims["K"]: each.count for each in sparse.shapes if each.op == "shrink"} == {
        1024: 1,
        512: 1,
        1408: 1,
        384: 1,
    }
    unknown = plan("NemotronHForCausalLM", 2, **NEMOTRON, **EXPERTS, n_shared_experts=1)
    assert ("shrink", 384, 1) not in lookups(unknown)
    assert told(unknown, "down_proj of shared experts: not planned, since the config lacks moe_shared_expert")


def test_all_names_the_projections_of_nemotrons_mlps_and_state_spaces_too() -> None:
    found = plan("NemotronHForCausalLM", targets=("all",), **NEMOTRON)
    state_space = {("shrink", 1024, 2), ("expand", 4096, 2), ("shrink", 2048, 1), ("expand", 1024, 1)}
    assert state_space | {("shrink", 2816, 1), ("shrink", 1024, 1), ("expand", 2816, 1)} <= lookups(found)


def test_without_a_layer_of_attention_its_mlps_alone_are_planned() -> None:
    assert lookups(plan("NewMambaForCausalLM", mamba_d_state=64, layer_types=["mamba"] * 4)) == MLP


def test_a_size_that_is_lacking_leaves_out_what_follows_from_it() -> None:
    found = plan("Qwen3_5ForConditionalGeneration", **LINEAR, intermediate_size=None)
    assert lookups(found) == OUT | GATED_QKV
    assert told(found, "not planned, since the config lacks intermediate_size")


@pytest.mark.parametrize("targets", [("all",), ("all-linear",)])
@pytest.mark.parametrize("architecture", ["Qwen3NextForCausalLM", "FalconH1ForCausalLM", "Lfm2ForCausalLM"])
def test_all_stops_a_server_that_finds_modules_without_a_size(architecture: str, targets: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="NotImplementedError at start"):
        plan(architecture, targets=targets, **(LINEAR if "Qwen" in architecture else {}))


KIMI: dict[str, Any] = {
    "kv_lora_rank": 256,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "num_experts": 8,
    "num_experts_per_token": 2,
    "moe_intermediate_size": 512,
    "num_shared_experts": 1,
    "first_k_dense_replace": 1,
}
KV_B = {("shrink", 256, 1), ("expand", 1024, 1)}


def test_latent_attention_beside_linear_attention_is_planned() -> None:
    found = plan("KimiLinearForCausalLM", 2, **KIMI)
    assert lookups(found) == KV_B | {("shrink", 512, 1), ("expand", 1024, 1)}
    assert told(found, "KimiLinearForCausalLM: some layers have linear attention")
    assert told(found, "gate_up_proj, down_proj: not planned: SGLang stops (KeyError at start)")
    assert lookups(plan("KimiLinearForCausalLM", 2, ("o_proj",), **KIMI)) == {("shrink", 512, 1), ("expand", 1024, 1)}
    with pytest.raises(InputError, match="q_b_proj: without a q_lora_rank"):
        plan("KimiLinearForCausalLM", 1, ("q_b_proj", "o_proj"), **KIMI)


def test_latent_attention_of_a_class_that_is_not_known_is_taken_for_deepseeks() -> None:
    found = plan("NewLatentForCausalLM", **{**KIMI, "n_shared_experts": 1, "q_lora_rank": 384})
    assert {("shrink", 1024, 2), ("expand", 672, 2), ("shrink", 384, 1), ("expand", 1536, 1)} <= lookups(found)
    assert told(found, "NewLatentForCausalLM is not known here: its latent attention is taken for DeepSeek's")


def test_an_encoder_and_a_decoder_are_refused() -> None:
    with pytest.raises(InputError, match="an encoder and a decoder"):
        plan("NewSeq2SeqModel", is_encoder_decoder=True, mamba_d_state=64)
