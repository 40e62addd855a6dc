"""Models that stop an SGLang server with LoRA, or with some modules named; each was met in 0.5.23's own classes."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model import shape
from autotune.model.sources import Source
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from tests.builders.samples import EXPERT_FIELDS, SMALL_MODEL


def plan(architecture: str, targets: tuple[str, ...] | None = None, **changes: Any) -> Plan:
    config = {name: value for name, value in (SMALL_MODEL | changes).items() if value is not ...}
    model = shape.read(Source("model", "config.json", config | {"architectures": [architecture]}), {})
    return make(model, Serving("sglang", 1, 16, 4, target_modules=targets), Batches())


def layers(found: Plan) -> set[str]:
    return {label.partition(" x")[0].rpartition(".")[2] for each in found.shapes for label in each.layers}


@pytest.mark.parametrize("architecture", ["GPTJForCausalLM", "MistralModel", "XLMRobertaModel", "BeamForCausalLM"])
@pytest.mark.parametrize("targets", [None, ("q_proj",), ("lm_head",)])
def test_a_class_that_takes_no_lora_is_refused(architecture: str, targets: tuple[str, ...] | None) -> None:
    with pytest.raises(InputError, match=f"{architecture}: SGLang stops with LoRA: its class"):
        plan(architecture, targets)


@pytest.mark.parametrize(
    ("architecture", "stopping", "served"),
    [
        ("Llama4ForConditionalGeneration", ("gate_proj", "down_proj", "all"), ("q_proj", "o_proj")),
        ("AfmoeForCausalLM", ("gate_proj", "down_proj", "all"), ("q_proj", "o_proj")),
        ("Mistral3ForConditionalGeneration", ("gate_proj", "up_proj", "all"), ("q_proj", "o_proj", "down_proj")),
        ("VoxtralForConditionalGeneration", ("all", "all-linear"), ("q_proj", "gate_proj")),
        ("GlmAsrForConditionalGeneration", ("o_proj", "all"), ("q_proj", "gate_proj")),
    ],
)
def test_a_module_that_stops_the_server_is_refused(
    architecture: str, stopping: tuple[str, ...], served: tuple[str, ...]
) -> None:
    for name in stopping:
        with pytest.raises(InputError, match=f"SGLang stops at {architecture}"):
            plan(architecture, ("q_proj", name))
    assert plan(architecture, served).shapes


def test_without_names_what_would_stop_it_is_not_planned_but_named() -> None:
    found = plan("Llama4ForConditionalGeneration", **EXPERT_FIELDS)
    assert layers(found) == {"qkv_proj", "o_proj"}
    assert any("gate_up_proj, down_proj: not planned: SGLang stops where one is named" in x for x in found.warnings)


@pytest.mark.parametrize("architecture", ["Gemma3ForCausalLM", "Gemma3nForCausalLM"])
def test_a_head_of_an_embedding_without_lora_stops_it_where_it_is_tied(architecture: str) -> None:
    """Their configuration classes tie it where a config does not say."""
    for tied in (True, ...):
        for targets in (("lm_head",), ("q_proj", "all")):
            with pytest.raises(InputError, match="its embedding, which lm_head shares"):
                plan(architecture, targets, tie_word_embeddings=tied)
        assert layers(plan(architecture, ("all-linear",), tie_word_embeddings=tied)) >= {"qkv_proj", "down_proj"}
    assert "lm_head" in layers(plan(architecture, ("lm_head",), tie_word_embeddings=False))


def test_a_field_without_which_it_stops_can_be_given() -> None:
    with pytest.raises(InputError, match="its config has no num_key_value_heads"):
        plan("OPTForCausalLM", ("q_proj",), num_key_value_heads=...)
    assert layers(plan("OPTForCausalLM", ("q_proj",))) == {"qkv_proj"}


def test_a_llava_with_pixtrals_tower_takes_no_gate() -> None:
    with pytest.raises(InputError, match="its tower has MLPs of other sizes"):
        plan("LlavaForConditionalGeneration", ("gate_proj",), vision_config={"model_type": "pixtral"})
    clip = {"model_type": "clip_vision_model"}
    assert layers(plan("LlavaForConditionalGeneration", ("gate_proj",), vision_config=clip)) == {"gate_up_proj"}


def test_a_list_of_the_experts_widths_stops_it() -> None:
    many = EXPERT_FIELDS | {"moe_intermediate_size": [512] * 4, "num_shared_expert": [1] * 4}
    with pytest.raises(InputError, match="a list in place of the experts' width"):
        plan("HunYuanMoEV1ForCausalLM", ("up_proj",), **many)
    assert layers(plan("HunYuanMoEV1ForCausalLM", **many)) == {"qkv_proj", "o_proj"}


def test_all_finds_nothing_else_in_a_hybrid_without_other_layers() -> None:
    kinds = {"mamba_d_state": 128, "mamba_n_heads": 32, "layer_types": ["attention"] * 4}
    assert layers(plan("GraniteMoeHybridForCausalLM", ("all",), **kinds)) >= {"qkv_proj", "o_proj"}
    with pytest.raises(InputError, match="SGLang finds in_proj or out_proj"):
        plan("GraniteMoeHybridForCausalLM", ("all",), **kinds | {"layer_types": ["attention", "mamba"] * 2})
