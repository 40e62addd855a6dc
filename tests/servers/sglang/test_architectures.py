"""What SGLang's classes have wrapped that name their modules otherwise; refusals are those of 0.5.23's own pool."""

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
    config = SMALL_MODEL | changes | {"architectures": [architecture]}
    serving = Serving("sglang", 1, 16, 4, target_modules=targets)
    return make(shape.read(Source("model", "config.json", config), {}), serving, Batches())


def layers(found: Plan) -> set[str]:
    return {label.partition(" x")[0].rpartition(".")[2] for each in found.shapes for label in each.layers}


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        ("ArceeForCausalLM", {"qkv_proj", "o_proj", "down_proj"}),
        ("Starcoder2ForCausalLM", {"qkv_proj", "o_proj"}),
        ("InternLM2ForCausalLM", {"gate_up_proj"}),
        ("OPTForCausalLM", {"qkv_proj"}),
        ("LlamaForCausalLM", {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}),
    ],
)
def test_modules_of_other_names_are_not_wrapped(architecture: str, names: set[str]) -> None:
    found = plan(architecture)
    assert layers(found) == names
    assert any("has no module of that name" in line for line in found.warnings) == (architecture != "LlamaForCausalLM")


def test_a_class_that_has_none_of_them_is_refused() -> None:
    with pytest.raises(InputError, match="ChatGLMModel: SGLang's class has no module under the names"):
        plan("ChatGLMModel")


@pytest.mark.parametrize(
    "architecture",
    [
        "CohereForCausalLM",
        "GemmaForCausalLM",
        "Gemma2ForCausalLM",
        "LlamaForSequenceClassification",
        "Qwen3ForSequenceClassification",
        "Qwen3Model",
    ],
)
def test_a_class_without_a_head_of_its_own_has_none_wrapped(architecture: str) -> None:
    assert layers(plan(architecture, ("all",))) >= {"embed_tokens", "gate_up_proj"}
    assert "lm_head" not in layers(plan(architecture, ("all",)))
    assert "lm_head" in layers(plan("LlamaForCausalLM", ("all",)))


@pytest.mark.parametrize("architecture", ["MiniCPMForCausalLM", "Qwen2AudioForConditionalGeneration"])
def test_a_head_that_is_tied_is_not_found_in_some_classes(architecture: str) -> None:
    assert "lm_head" in layers(plan(architecture, ("all",), tie_word_embeddings=False))
    assert "lm_head" not in layers(plan(architecture, ("all",), tie_word_embeddings=True))


def test_embeddings_of_other_names_are_not_wrapped() -> None:
    assert "embed_tokens" not in layers(plan("Gemma3ForConditionalGeneration", ("all",)))
    assert layers(plan("QWenLMHeadModel", ("all",))) == {"lm_head"}
    with pytest.raises(InputError, match="none of which model has on this server"):
        plan("GPT2LMHeadModel", ("embed_tokens", "lm_head"))


def test_a_head_that_a_config_does_not_untie_is_no_module_of_its_own() -> None:
    assert "lm_head" not in layers(plan("Starcoder2ForCausalLM", ("all-linear",)))
    assert "lm_head" in layers(plan("Starcoder2ForCausalLM", ("all-linear",), tie_word_embeddings=False))
    assert "lm_head" in layers(plan("Starcoder2ForCausalLM", ("all",)))
    assert "lm_head" in layers(plan("GraniteForCausalLM", ("all-linear",), tie_word_embeddings=True))
    assert "lm_head" not in layers(plan("LlamaForCausalLM", ("all-linear",), tie_word_embeddings=True))


def test_what_transformers_classes_have_in_parts_is_not_wrapped() -> None:
    found = plan("SmolLM3ForCausalLM")
    assert layers(found) == {"o_proj", "down_proj"}
    assert any("SGLang has no class of its own for it" in line for line in found.warnings)
    with pytest.raises(InputError, match="none of which model has on this server"):
        plan("SeedOssForCausalLM", ("q_proj", "up_proj"))
    assert layers(plan("Olmo3ForCausalLM")) == layers(plan("Olmo2ForCausalLM"))  # of one class
    every = plan("NemotronForCausalLM", ("all-linear",), tie_word_embeddings=True)
    assert layers(every) == {"o_proj", "down_proj", "embed_tokens", "lm_head"}


ERNIE: dict[str, Any] = {
    "num_experts": None,
    "moe_num_experts": 8,
    "moe_k": 2,
    "moe_num_shared_experts": 2,
    "moe_intermediate_size": 512,
}


@pytest.mark.parametrize("architecture", ["Ernie4_5_MoeForCausalLM", "HYV3ForCausalLM"])
def test_mlps_beside_experts_that_the_pool_does_not_know_stop_the_server(architecture: str) -> None:
    found = plan(architecture, **ERNIE, moe_layer_start_index=1)
    assert layers(found) == {"qkv_proj", "o_proj"}
    assert any("SGLang stops (KeyError at start) where they are named" in line for line in found.warnings)
    for targets in (("q_proj", "gate_proj"), ("down_proj",), ("all",)):
        with pytest.raises(InputError, match="gate_up_proj, down_proj: SGLang's pool has a place"):
            plan(architecture, targets, **ERNIE)
    assert "gate_up_proj" in layers(plan(architecture, ("gate_proj",), **ERNIE, n_shared_experts=2))


def test_a_bailing_model_without_shared_experts_has_nothing_to_plan() -> None:
    with pytest.raises(InputError, match="BailingMoeForCausalLM: SGLang's class has no module under the names"):
        plan("BailingMoeForCausalLM", **EXPERT_FIELDS)


def test_experts_are_in_each_layer_of_some_classes_whatever_the_config_says() -> None:
    found = plan("Qwen3MoeForCausalLM", **EXPERT_FIELDS, mlp_only_layers=[0, 1])
    assert layers(found) == {"qkv_proj", "o_proj"}
