"""From configs to shapes: what families leave out, share or store otherwise, and what is refused."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model import sources
from autotune.model.families import EMBEDDINGS, FAMILIES
from autotune.model.layers import dense_layers
from autotune.model.shape import ModelShape, load, read
from autotune.model.sources import Source
from autotune.model.wrapping import Wrapping
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from tests.builders.samples import EXPERT_FIELDS, SMALL_MODEL


def write(**changes: Any) -> str:
    """A config.json with changes; None takes a field out."""
    config = {name: value for name, value in (SMALL_MODEL | changes).items() if value is not None}
    Path("config.json").write_text(json.dumps(config))
    return "config.json"


def shape(**changes: Any) -> ModelShape:
    return load(write(**changes))


def wrapping(tp: int = 1, **how: Any) -> Wrapping:
    """What a server wraps that can wrap everything."""
    return Wrapping(tp=tp, **({"targets": None, "embeddings": EMBEDDINGS, "head_shards": 1} | how))


def layers(found: ModelShape, tp: int = 1, **how: Any) -> dict[str, tuple[int, ...]]:
    """Each layer's inputs and widths, by its label."""
    return {layer.label: (layer.inputs, *layer.widths) for layer in dense_layers(found, wrapping(tp, **how))}


@pytest.mark.parametrize("name", sources.presets())
def test_every_preset_has_a_source_and_a_plan(name: str) -> None:
    found = load(name.lower())
    assert found.origin.startswith(f"preset {name}: ")
    assert found.architecture in FAMILIES
    for server in ("vllm", "sglang"):
        assert make(found, Serving(server, 2, 64, 4), Batches()).entries
    assert load(found.origin.rpartition(" ")[2]) == found, "a preset's hub id needs no hub"


def test_heads_wider_than_hidden_and_replicated_kv_heads() -> None:
    found = shape(head_dim=128)
    assert layers(found)["qkv_proj x4"] == (1024, 2048, 512, 512)
    assert layers(found, 2)["qkv_proj x4"] == (1024, 1024, 256, 256)
    assert layers(found, 8)["qkv_proj x4"] == (1024, 256, 128, 128)
    assert layers(found, 8)["o_proj x4"] == (256, 1024)


def test_a_config_without_kv_heads_or_head_dim() -> None:
    assert layers(shape(num_key_value_heads=None))["qkv_proj x4"] == (1024, 1024, 1024, 1024)


@pytest.mark.parametrize(
    ("changes", "dense", "sparse"),
    [
        ({}, 0, 4),
        ({"first_k_dense_replace": 1}, 1, 3),
        ({"mlp_only_layers": [0, 3]}, 2, 2),
        ({"decoder_sparse_step": 2}, 2, 2),
        ({"moe_layer_freq": 1, "moe_layer_start_index": 0, "moe_layer_interval": 1}, 0, 4),
        ({"moe_layer_start_index": 1}, 1, 3),
        ({"moe_layer_start_index": 1, "moe_layer_end_index": 2}, 2, 2),
        ({"moe_layer_interval": 2}, 2, 2),
        ({"moe_layers_enum": "1,3"}, 2, 2),
        ({"num_dense_layers": 1}, 1, 3),
        ({"expert_layer_period": 2, "expert_layer_offset": 1}, 2, 2),
        ({"mlp_layer_types": ["dense", "sparse", "sparse", "sparse"]}, 1, 3),
        ({"moe_layer_freq": 2}, 2, 2),
        ({"moe_layer_freq": 2, "first_k_dense_replace": 1}, 3, 1),
        ({"moe_layer_freq": [0, 1, 1, 1]}, 1, 3),
        ({"interleave_moe_layer_step": 2}, 2, 2),
        ({"moe_layers": [1, 2, 3], "interleave_moe_layer_step": 1}, 1, 3),
    ],
)
def test_dense_layers_among_the_experts(changes: dict[str, Any], dense: int, sparse: int) -> None:
    found = shape(architectures=["Qwen3MoeForCausalLM"], **EXPERT_FIELDS, **changes)
    labels = layers(found)
    assert (f"gate_up_proj x{dense}" if dense > 1 else "gate_up_proj") in labels or not dense
    assert ("gate_up_proj" in str(labels)) == bool(dense)
    assert found.experts is not None
    assert (found.experts.layers, found.experts.intermediate, found.experts.count) == (sparse, 512, 8)
    assert f"{sparse} MoE layers, {dense} dense, no shared experts" in found.assumptions


def test_without_any_layer_of_experts_all_are_dense() -> None:
    assert shape(**EXPERT_FIELDS, interleave_moe_layer_step=0).experts is None


def test_llama_4_has_dense_layers_of_their_own_width_and_a_shared_expert() -> None:
    sizes = {"intermediate_size": 512, "intermediate_size_mlp": 2048, "num_local_experts": 8, "num_experts_per_tok": 1}
    text = {name: value for name, value in (SMALL_MODEL | sizes).items() if name != "architectures"}
    config = {
        "architectures": ["Llama4ForConditionalGeneration"],
        "text_config": text | {"interleave_moe_layer_step": 2},
    }
    Path("config.json").write_text(json.dumps(config))
    found = load("config.json")
    assert (found.intermediate, found.dense_layers) == (2048, 2)
    assert found.experts is not None
    assert (found.experts.intermediate, found.experts.shared, found.experts.layers) == (512, 512, 2)
    assert any(line.startswith("2 MoE layers, 2 dense, shared experts") for line in found.assumptions)
    slices = {
        s.dims["num_slices"] for s in make(found, Serving("vllm", 1, 16, 4), Batches()).shapes if s.op == "shrink"
    }
    assert slices == {1, 2, 3}


@pytest.mark.parametrize("name", ["moe_top_k", "moe_k", "top_k"])
def test_names_of_the_experts_a_token_is_sent_to(name: str) -> None:
    found = shape(**{**EXPERT_FIELDS, "num_experts_per_tok": None, name: 3})
    assert found.experts is not None
    assert found.experts.top_k == 3


SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")


@pytest.mark.parametrize("shared", [{"shared_expert_intermediate_size": 1024}, *({name: 2} for name in SHARED)])
def test_shared_experts_are_dense_layers(shared: dict[str, int]) -> None:
    found = shape(architectures=["Qwen2MoeForCausalLM"], **EXPERT_FIELDS, **shared)
    assert layers(found, 2)["shared_experts.gate_up_proj x4"] == (1024, 512, 512)
    assert layers(found, 2)["shared_experts.down_proj x4"] == (512, 1024)
    assert any("shared experts" in line for line in found.assumptions)


def test_shared_experts_are_told_from_the_dense_layers() -> None:
    found = shape(architectures=["Glm4MoeForCausalLM"], **EXPERT_FIELDS, n_shared_experts=2, first_k_dense_replace=1)
    labels = [label for label in layers(found) if "gate_up" in label]
    assert labels == ["gate_up_proj", "shared_experts.gate_up_proj x3"]
    assert "shared_experts.gate_up_proj x3" in layers(found, targets=("gate_up_proj",))


def test_fused_experts_have_one_slice_of_twice_the_width() -> None:
    found = make(load("GPT-OSS-20B"), Serving("vllm", 2, 16, 4), Batches())
    dims = {s.op: (s.dims["num_slices"], s.dims["i"]) for s in found.shapes if "fused" in s.op}
    assert dims["fused_moe_lora_w13_shrink"] == dims["fused_moe_lora_w13_expand"] == (1, 3072)
    assert dims["fused_moe_lora_w2_shrink"] == (1, 1536)
    assert any("pad" in line for line in found.warnings)


def test_embeddings_are_those_that_are_wrapped() -> None:
    assert {"embed_tokens", "lm_head"} <= set(layers(shape()))
    assert not {"embed_tokens", "lm_head"} & set(layers(shape(), embeddings=()))


def test_a_shard_of_lm_head_is_one_of_the_padded_vocabulary() -> None:
    alone = {"targets": ("lm_head",), "embeddings": ("lm_head",)}
    assert layers(shape(), 2, head_shards=1, **alone) == {"lm_head": (1024, 32000)}
    assert layers(shape(), 2, head_shards=2, **alone) == {"lm_head": (1024, 16000)}
    assert layers(shape(vocab_size=32001), 2, head_shards=2, **alone) == {
        "lm_head": (1024, 16032),
        "rank 1.lm_head": (1024, 32001 - 16032),
    }


def test_target_modules_restrict_to_merged_layers() -> None:
    assert set(layers(shape(), targets=("q_proj", "up_proj"))) == {"qkv_proj x4", "gate_up_proj x4"}


def test_a_multimodal_config_is_its_language_model() -> None:
    text = {name: SMALL_MODEL[name] for name in SMALL_MODEL if name != "architectures"}
    Path("config.json").write_text(
        json.dumps(
            {
                "architectures": ["Gemma3ForConditionalGeneration"],
                "text_config": {k: v for k, v in text.items() if k not in ("vocab_size", "num_attention_heads")},
                "vision_config": {"hidden_size": 7},
            }
        )
    )
    found = load(".")
    assert (found.hidden, found.heads, found.vocab) == (1024, 8, 262_208)
    assert any("towers" in line for line in found.assumptions)


def test_an_unknown_architecture_says_what_was_assumed() -> None:
    found = shape(architectures=["NovelForCausalLM"], auto_map={"AutoModelForCausalLM": "novel.NovelForCausalLM"})
    for server in ("vllm", "sglang"):
        warnings = make(found, Serving(server, 1, 16, 4), Batches()).warnings
        assert any("NovelForCausalLM is not known" in line for line in warnings)


def test_a_field_can_be_set() -> None:
    assert load(write(hidden_size=None), {"hidden_size": 2048}).hidden == 2048


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"hidden_size": None, "vocab_size": None}, ["lacks hidden_size, vocab_size", "--set hidden_size=N --set voc"]),
        ({"intermediate_size": None}, ["lacks intermediate_size", "--set intermediate_size=N"]),
        ({"num_experts": 8}, ["lacks num_experts_per_tok", "--set"]),
        ({"num_attention_heads": 15}, ["no multiple of num_attention_heads 15", "--set head_dim=N"]),
        ({"hidden_size": "wide"}, ["hidden_size", "'wide'", "integer"]),
        ({"num_attention_heads": [16, 8]}, ["num_attention_heads", "[16, 8]", "--set num_attention_heads=N"]),
        ({"kv_lora_rank": 512}, ["LlamaForCausalLM", "latent attention", "study create"]),
        ({"linear_num_key_heads": 16}, ["linear attention"]),
        ({"is_encoder_decoder": True}, ["encoder"]),
        (EXPERT_FIELDS | {"moe_layer_start_index": "1"}, ["config.json: moe_layer_start_index: got '1'", "an integer"]),
        (EXPERT_FIELDS | {"mlp_layer_types": ["dense"]}, ["mlp_layer_types: got ['dense']", "each of the 4 layers"]),
        (EXPERT_FIELDS | {"moe_layers_enum": "a"}, ["moe_layers_enum: got 'a'", "commas"]),
        (EXPERT_FIELDS | {"moe_layer_freq": 0}, ["config.json: moe_layer_freq: got 0", "1 or more"]),
        (EXPERT_FIELDS | {"moe_layer_freq": [1, 0]}, ["moe_layer_freq: got [1, 0]", "each of the 4 layers"]),
        (EXPERT_FIELDS | {"mlp_only_layers": 3}, ["config.json: mlp_only_layers: got 3", "a list of integers"]),
        (EXPERT_FIELDS | {"mlp_only_layers": "0,1"}, ["config.json: mlp_only_layers: got '0,1'", "a list of integers"]),
    ],
)
def test_a_config_that_gives_no_shapes_is_refused(changes: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        shape(**changes)
    assert not [part for part in parts if part not in str(caught.value)], caught.value


def test_files_that_hold_no_config() -> None:
    Path("config.json").write_text("[1]")
    Path("preset.toml").write_text("config = 3")
    for name, part in (("config.json", "no JSON object"), ("preset.toml", "no table [config]"), (".", "object")):
        with pytest.raises(InputError, match=part.replace("[", r"\[")):
            load(name)
    with pytest.raises(InputError, match="Qwen3-8B"):
        load("nothing-of-this-name")


@pytest.mark.parametrize("modules", ["3", '"lm_head"', '["foo"]', "[3]", "[[]]"])
def test_a_preset_with_embedding_modules_that_are_none(modules: str) -> None:
    Path("own.toml").write_text(f"embedding_modules = {modules}\n[config]\n")
    with pytest.raises(InputError, match=r"own\.toml: embedding_modules: got .* embed_tokens, lm_head"):
        load("own.toml")


def test_the_hub_is_optional_and_its_failures_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"extra 'hub'.*pass the file's path"):
        load("somebody/something")
    hub = types.ModuleType("huggingface_hub")

    def offline(repo: str, file: str) -> str:
        raise ConnectionError("no route\nto host")

    hub.hf_hub_download = offline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(InputError, match=r"ConnectionError: no route.*pass the file's path") as caught:
        load("somebody/something")
    assert "\n" not in str(caught.value)
    hub.hf_hub_download = lambda repo, file: write()  # type: ignore[attr-defined]
    assert load("somebody/something").name == "something"


@pytest.mark.parametrize("path", ["text_config", "thinker_config.text_config", "llm_config", "language_config"])
def test_a_language_model_is_found_where_multimodal_configs_keep_it(path: str) -> None:
    sizes = {name: value for name, value in SMALL_MODEL.items() if name != "architectures"}
    config: dict[str, Any] = sizes
    for name in reversed(path.split(".")):
        config = {name: config}
    found = read(Source("model", "config.json", {"architectures": ["SomeForConditionalGeneration"], **config}), {})
    assert (found.hidden, found.layers, found.vocab) == (1024, 4, 32000)
    assert found.unknown is None
