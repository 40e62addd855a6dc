"""Plans by the tables, beside what vLLM's own classes wrap."""

from __future__ import annotations

import json
from typing import Any

import pytest

import make_wrapped
from autotune.errors import InputError
from autotune.model.shape import ModelShape, load, read
from autotune.model.sources import Source
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.vllm.architectures import wrapped
from autotune.servers.vllm.architectures.classes import classes, removed
from autotune.servers.vllm.architectures.decoders import table
from autotune.servers.vllm.architectures.towers import check_towers
from tests.builders.samples import EXPERT_FIELDS, SMALL_MODEL

# What vLLM says as it stops, and what a plan then names.
REASONS = {
    "does not implement": "SupportsLoRA",
    "is not supported for": "SupportsLoRA",
    "must be divisible by tensor parallel size": "must be divisible by tensor parallel size",
    "vocab size must be": "vocab size must be",
    "AssertionError": "num_key_value_heads",
}


@pytest.mark.parametrize("name", make_wrapped.recorded())
def test_a_plan_is_what_the_server_wraps_and_calls(name: str) -> None:
    found = make_wrapped.compare(name)
    if found.error is None:
        assert (found.refused, found.extra, found.missing) == (None, frozenset(), frozenset())
    else:
        reason = next(ours for theirs, ours in REASONS.items() if theirs in found.error)
        assert found.refused is not None
        assert reason in found.refused


BY_CLASS: dict[str, dict[str, Any]] = json.loads((make_wrapped.DATA / "by_class.json").read_text())


@pytest.mark.parametrize("name", BY_CLASS)
def test_a_plan_of_a_config_as_its_class_has_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKLING_MULTIMEM_AR", "0")  # without which the server refuses LoRA on Inkling
    model = read(Source(name, name, BY_CLASS[name]["config"]), {})
    for flags in make_wrapped.VARIANTS:
        recorded = BY_CLASS[name]["lookups"][flags]
        if isinstance(recorded, str):
            with pytest.raises(InputError, match="--tp"):
                make(model, make_wrapped.variant(flags), Batches(), road="tables")
            continue
        shapes = make(model, make_wrapped.variant(flags), Batches(), road="tables").shapes
        assert make_wrapped.lookups_of(shapes) == {tuple(lookup) for lookup in recorded}, flags


VARIED: dict[str, dict[str, Any]] = json.loads((make_wrapped.DATA / "varied.json").read_text())


@pytest.mark.parametrize("name", VARIED)
def test_a_plan_of_a_config_and_flags_like_no_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd widths, layers of several kinds, targets, ranks and flags; or the server's refusal."""
    monkeypatch.setenv("INKLING_MULTIMEM_AR", "0")
    model, serving = read(Source(name, name, VARIED[name]["config"]), {}), make_wrapped.varied(VARIED[name]["flags"])
    recorded = VARIED[name]["lookups"]
    if isinstance(recorded, str):
        with pytest.raises(InputError):
            make(model, serving, Batches(), road="tables")
        return
    try:
        shapes = make(model, serving, Batches(), road="tables").shapes
    except InputError as error:
        assert not recorded, error  # the server wraps none of what is named
        return
    assert make_wrapped.lookups_of(shapes) == {tuple(lookup) for lookup in recorded}


def test_a_tower_that_cannot_be_shared_out_is_refused() -> None:
    vision = {"num_heads": 12, "intermediate_size": 4096, "hidden_size": 1536, "model_type": "glm4v"}
    config = {"architectures": ["Alpamayo2Super"], "text_config": SMALL_MODEL | {"model_type": "qwen3_vl_text"}}
    model = read(Source("model", "config.json", config | {"vision_config": vision}), {})
    with pytest.raises(InputError, match=r"--tp: got 8, which does not divide vision_config\.num_heads 12"):
        make(model, Serving("vllm", 8, 16, 4), Batches(), road="tables")


def test_a_towers_size_that_a_config_leaves_out_is_its_classs() -> None:
    architecture = "MiniCPMV4_6ForConditionalGeneration"
    config: dict[str, Any] = {"text_config": SMALL_MODEL}
    with pytest.raises(InputError, match=r"--tp: got 8, which does not divide vision_config\.\w+ \d+"):
        check_towers(config, architecture, 8, "model")
    check_towers({**config, "vision_config": None}, architecture, 8, "model")
    check_towers({**config, "vision_config": {"model_type": "another"}}, architecture, 8, "model")


def test_an_architecture_that_nobody_has_is_refused() -> None:
    with pytest.raises(InputError, match="FooBarForCausalLM: neither vLLM nor Transformers has such a class"):
        plan(architectures=["FooBarForCausalLM"])
    own = {"AutoModelForCausalLM": "modeling.FooBarForCausalLM"}
    assert any(
        "FooBarForCausalLM is not known here" in line
        for line in plan(architectures=["FooBarForCausalLM"], auto_map=own).warnings
    )


def test_experts_need_not_divide_by_the_gpus_that_share_them() -> None:
    config = json.loads((make_wrapped.DATA / "configs" / "qwen1.5-moe-a2.7b.json").read_text())
    spread = Serving("vllm", 4, 16, 4, expert_parallel=True, data_parallel=2)
    found = make(read(Source("qwen", "config.json", config), {}), spread, Batches())
    (w13,) = [s for s in found.shapes if s.op == "fused_moe_lora_w13_shrink"]
    assert (w13.dims["i"], w13.flags["num_experts"]) == (1408, 8)


def test_targets_may_be_a_models_own_names() -> None:
    chatglm = json.loads((make_wrapped.DATA / "configs" / "chatglm3-6b.json").read_text())
    assert lookups("dense_h_to_4h", **dict.fromkeys(SMALL_MODEL) | chatglm) == {
        ("shrink", 1, 4096, 16),
        ("expand", 1, 16, 27392),
    }


def test_a_whole_path_is_one_layers_module() -> None:
    down = {("shrink", 1, SMALL_MODEL["intermediate_size"], 16), ("expand", 1, 16, SMALL_MODEL["hidden_size"])}
    assert lookups("model.layers.1.mlp.down_proj") == down
    assert {each.count for each in plan("model.layers.1.mlp.down_proj").shapes} == {1}
    for other in (
        "layers.1.mlp.down_proj",
        "language_model.model.layers.1.mlp.down_proj",
        "model.layers.99.mlp.down_proj",
    ):
        with pytest.raises(InputError, match="none of which"):
            plan(other)


def gpt_oss(**how: Any) -> set[tuple[str | int, ...]]:
    """Slices, k, n and i of w13 of gpt-oss, whose mxfp4 experts are padded."""
    found = make(load("GPT-OSS-20B"), Serving("vllm", 1, 16, 4, **how), Batches())
    shapes = [s.dims for s in found.shapes if s.op == "fused_moe_lora_w13_shrink"]
    return {tuple(dims[d] for d in ("num_slices", "k", "n", "i")) for dims in shapes}


def test_flags_that_change_the_experts_lookups() -> None:
    assert gpt_oss() == {(1, 16, 3072, 5888)}
    assert gpt_oss(mixed_moe_format=True) == gpt_oss(moe_shared_loras=True) == {(2, 16, 3072, 2944)}
    assert gpt_oss(data_parallel=2) == {(1, 16, 3072, 3072)}
    assert gpt_oss(data_parallel=2, expert_parallel=True) == {(1, 16, 3072, 5888)}
    with pytest.raises(InputError, match="--enable-expert-parallel together"):
        gpt_oss(data_parallel=2, expert_parallel=True, fully_sharded=True)


def plan(targets: str | None = None, **changes: Any) -> Plan:
    """Plans the small model with changes."""
    config = {name: value for name, value in (SMALL_MODEL | changes).items() if value is not None}
    names = tuple(targets.split(",")) if targets else None
    return make(
        read(Source("model", "config.json", config), {}), Serving("vllm", 1, 16, 4, target_modules=names), Batches()
    )


def lookups(targets: str | None = None, **changes: Any) -> set[tuple[str | int, ...]]:
    return {
        (s.op, *(s.dims[d] for d in ("num_slices", "k", "n", "i") if d in s.dims))
        for s in plan(targets, **changes).shapes
    }


NEXT: dict[str, Any] = {
    "architectures": ["Qwen3NextForCausalLM"],
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "full_attention_interval": 4,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
}


def test_a_plan_looks_once_what_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    look, looked = wrapped._read, list[str]()

    def noted(model: ModelShape) -> Any:
        looked.append(model.name)
        return look(model)

    monkeypatch.setattr(wrapped, "_read", noted)
    assert plan().shapes
    assert len(looked) == 1
    assert plan("q_proj").shapes != plan("o_proj").shapes, "of other flags it looks again"
    assert len(looked) == 3


def test_of_a_hybrid_attention_alone_is_planned_where_it_alone_is_targeted() -> None:
    assert lookups("q_proj,k_proj,v_proj,o_proj", **NEXT) == {
        ("shrink", 3, 2048, 16),
        ("expand", 3, 16, 4096),
        ("shrink", 1, 2048, 16),
        ("expand", 1, 16, 2048),
    }


def test_what_is_never_called_is_named_and_not_planned() -> None:
    found = plan(**NEXT)
    assert any("conv1d, gate, shared_expert_gate" in line for line in found.warnings)
    assert not {"gate x4", "conv1d x3"} & {label for shape in found.shapes for label in shape.layers}


def test_a_named_module_is_wrapped_where_the_class_lists_no_embeddings() -> None:
    assert lookups("lm_head", architectures=["MistralForCausalLM"]) == {
        ("shrink", 1, 1024, 16),
        ("expand", 1, 16, 32000),
    }


def test_experts_are_wrapped_by_their_own_name_alone() -> None:
    moe = {"architectures": ["Qwen3MoeForCausalLM"], **EXPERT_FIELDS}
    with pytest.raises(InputError, match=r"none of which model has .*q_proj.*experts"):
        plan("gate_proj,up_proj,down_proj", **moe)
    assert {op for op, *_ in lookups("experts", **moe)} == {
        f"fused_moe_lora_{weight}_{op}" for weight in ("w13", "w2") for op in ("shrink", "expand")
    }


def test_a_target_that_wraps_nothing_is_named_and_the_rest_is_planned() -> None:
    found = plan("q_proj,up_proj", architectures=["Qwen3MoeForCausalLM"], **EXPERT_FIELDS)
    assert {label for shape in found.shapes for label in shape.layers} == {"qkv_proj x4"}
    assert any("--target-modules: up_proj: the server wraps no module" in line for line in found.warnings)


def test_widths_may_differ_from_layer_to_layer() -> None:
    found = lookups("gate_up_proj", intermediate_size=[4096, 4096, 2048, 2048])
    assert {n for op, _, _, n in found if op == "expand"} == {4096, 2048}


def test_defaults_are_those_of_the_configuration_class() -> None:
    text = {"model_type": "llama", "vocab_size": 32064}
    changes: dict[str, Any] = dict.fromkeys(SMALL_MODEL)
    found = lookups(**changes | {"architectures": ["LlavaForConditionalGeneration"], "text_config": text})
    assert ("expand", 2, 16, 11008) in found
    assert ("expand", 1, 16, 32064) in found


def test_every_decoder_is_of_a_class_with_lora() -> None:
    """Or of one that the server does not register, and serves by its Transformers backend."""
    assert not [each for each in table().architectures if each in classes() and not classes()[each].lora]


def test_every_language_model_has_a_decoder() -> None:
    for architecture, inner in table().language_models.items():
        assert classes()[architecture].lora
        assert not inner or inner in table().architectures or inner in table().decoders


def test_an_architecture_of_transformers_that_no_table_has_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="the layers of ZayaForCausalLM are not known here"):
        plan(architectures=["ZayaForCausalLM"])


@pytest.mark.parametrize("name", ["BaichuanForCausalLM", "QWenLMHeadModel", "Grok1ModelForCausalLM"])
def test_an_architecture_that_the_server_has_no_more_is_refused_with_its_last_release(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: vLLM serves it no more, 0\.2\d\.0 was the last"):
        plan(architectures=[name])


def test_no_architecture_is_both_served_and_gone() -> None:
    assert not removed().keys() & {*classes(), *table().architectures}


def test_layers_of_an_unknown_type_are_named_and_the_rest_is_planned() -> None:
    types = ["full_attention", "resonance", "full_attention", "resonance"]
    found = plan(**NEXT, layer_types=types)
    assert any("layers of type resonance are not known here" in line for line in found.warnings)
    labels = {label for shape in found.shapes for label in shape.layers}
    assert {"qkv_proj x2", "experts x4"} <= labels


def test_a_router_is_called_through_its_wrapper_where_the_experts_have_none() -> None:
    moe = {"architectures": ["Qwen3MoeForCausalLM"], **EXPERT_FIELDS}
    router = ("expand", 1, 16, EXPERT_FIELDS["num_experts"])
    assert router in lookups("gate", **moe)
    assert router not in lookups("gate,experts", **moe)
    assert router not in lookups(**moe)


def test_a_classification_head_is_wrapped_whatever_the_targets_are() -> None:
    classifier = {"architectures": ["LlamaForSequenceClassification"], "num_labels": 3}
    assert ("expand", 1, 16, 3) in lookups("q_proj", **classifier)
    with pytest.raises(InputError, match="stops with --lora-target-modules on JambaForSequenceClassification"):
        plan("q_proj", architectures=["JambaForSequenceClassification"])


def test_a_model_of_experts_without_any_is_refused() -> None:
    moe = {"architectures": ["Qwen3MoeForCausalLM"], **EXPERT_FIELDS}
    with pytest.raises(InputError, match="no layer has experts"):
        plan(mlp_only_layers=list(range(SMALL_MODEL["num_hidden_layers"])), **moe)


def test_a_size_that_is_left_out_is_its_class_s_and_not_another_one() -> None:
    moe = {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "intermediate_size": 4096}
    assert ("fused_moe_lora_w2_shrink", 1, 16, 1024, 2048) in lookups(None, num_key_value_heads=8, **moe)


def test_a_target_that_no_lora_layer_can_wrap_is_refused() -> None:
    latent: dict[str, Any] = {"architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32"}
    assert ("shrink", 2, 1024, 16) in lookups(**latent)
    with pytest.raises(InputError, match="gate cannot be wrapped by any of the server's LoRA layers"):
        plan("gate", architectures=["Kolibri1ForCausalLM"], **EXPERT_FIELDS)


def test_what_is_not_targeted_must_divide_all_the_same() -> None:
    model = read(Source("model", "config.json", SMALL_MODEL | {"intermediate_size": 1026}), {})
    with pytest.raises(InputError, match="does not divide gate_up_proj 1026"):
        make(model, Serving("vllm", 4, 16, 4, target_modules=("q_proj",)), Batches())


def test_a_draft_is_refused_as_one() -> None:
    with pytest.raises(InputError, match="EagleLlamaForCausalLM is a draft for speculative decoding"):
        plan(architectures=["EagleLlamaForCausalLM"])


def test_every_architecture_with_lora_is_known_or_a_draft() -> None:
    known = {*table().architectures, *table().language_models, *table().by_version, *table().drafts}
    assert {name for name, each in classes().items() if each.lora} <= known


def test_inkling_needs_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INKLING_MULTIMEM_AR", raising=False)
    with pytest.raises(InputError, match="INKLING_MULTIMEM_AR=0"):
        plan(architectures=["InklingForCausalLM"])


def test_inkling_is_served_on_as_many_gpus_as_it_has_key_value_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKLING_MULTIMEM_AR", "0")
    model = read(Source("inkling", "inkling", BY_CLASS["own-Inkling"]["config"]), {})
    with pytest.raises(InputError, match=r"--tp: got 8, allowed for Inkling.*num_key_value_heads 4"):
        make(model, Serving("vllm", 8, 16, 4), Batches(), road="tables")


def test_a_block_without_heads_for_keys_is_refused() -> None:
    block = {"attention": {"n_heads_in_group": 32}, "ffn": {"intermediate_size": 4096}}
    with pytest.raises(InputError, match="num_key_value_heads: got 0 for 16 heads"):
        plan(architectures=["DeciLMForCausalLM"], block_configs=[block] * SMALL_MODEL["num_hidden_layers"])
