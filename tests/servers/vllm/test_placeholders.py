"""Plans of configs that lack a size: what can be known is planned, the rest is named, and no server stops at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

import make_wrapped
from autotune import servers
from autotune.contract import Call
from autotune.errors import InputError
from autotune.model.fields import NAMES
from autotune.model.shape import read
from autotune.model.sources import Source
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.vllm.architectures import config_classes
from tests.builders.samples import EXPERT_FIELDS, SMALL_MODEL

BY_CLASS: dict[str, dict[str, Any]] = json.loads((make_wrapped.DATA / "by_class.json").read_text())
SIZES = ("hidden_size", "num_attention_heads", "intermediate_size", "moe_intermediate_size", "vocab_size")


def plan(config: Mapping[str, Any], **how: Any) -> Plan:
    serving = Serving(**{"server": "vllm", "tp": 1, "rank": 16, "max_loras": 4, **how})
    return make(read(Source("model", "config.json", dict(config)), {}), serving, Batches(), road="tables")


def without(config: Mapping[str, Any], field: str) -> dict[str, Any]:
    """A config without a size, under all its names and at each level."""
    kept = {name: value for name, value in config.items() if name not in NAMES[field]}
    return {name: without(value, field) if isinstance(value, dict) else value for name, value in kept.items()}


def no_default(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has no configuration class know a size, as those of a model's own repository are not known."""
    monkeypatch.setenv("INKLING_MULTIMEM_AR", "0")  # without which the server refuses LoRA on Inkling
    sizes = NAMES[field]
    bare = {
        kind: {**row, "defaults": {name: value for name, value in row["defaults"].items() if name not in sizes}}
        for kind, row in config_classes._classes().items()
    }
    monkeypatch.setattr(config_classes, "_classes", lambda: bare)


@pytest.mark.parametrize("field", [*SIZES, "num_experts", "num_experts_per_tok", "num_hidden_layers"])
def test_of_a_config_that_lacks_a_size_the_rest_is_planned(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all classes that were asked: nothing is planned that the whole config does not lead to, and nothing is left
    out in silence."""
    no_default(field, monkeypatch)
    planned = 0
    for name, entry in BY_CLASS.items():
        whole = {tuple(lookup) for lookup in entry["lookups"]["tp1|fs0"]}
        try:
            part = plan(without(entry["config"], field))
        except InputError as error:
            assert f"lacks {field}" in str(error) or "vLLM refuses it" in str(error), name
            continue
        found = make_wrapped.lookups_of(part.shapes)
        assert found <= whole, name
        if found != whole:
            told = "".join(line for line in part.warnings if "not planned, since the config lacks" in line)
            assert any(spelled in told for spelled in NAMES[field]), name
        planned += 1
    assert planned > len(BY_CLASS) * (0.05 if field == "hidden_size" else 0.95)


def test_modules_and_fields_are_named_with_what_to_do() -> None:
    found = plan(without(without(SMALL_MODEL, "num_attention_heads"), "vocab_size"))
    assert (
        "qkv_proj, o_proj, lm_head: not planned, since the config lacks num_attention_heads, vocab_size; give --set "
        "num_attention_heads=N --set vocab_size=N, or the server takes the nearest entry or its default for them"
    ) in found.warnings
    assert make_wrapped.lookups_of(found.shapes) < make_wrapped.lookups_of(plan(SMALL_MODEL).shapes)


def test_shared_experts_are_named_beside_the_experts() -> None:
    config = SMALL_MODEL | EXPERT_FIELDS | {"architectures": ["Glm4MoeForCausalLM"], "n_shared_experts": 1}
    lines = plan(without(config, "moe_intermediate_size") | {"intermediate_size": None}).warnings
    named = next(line for line in lines if "not planned" in line)
    assert named.startswith("experts, shared_experts.gate_up_proj, shared_experts.down_proj: not planned")


def test_of_layers_without_a_number_each_lookup_is_planned_once() -> None:
    found = plan(without(SMALL_MODEL, "num_hidden_layers"))
    assert make_wrapped.lookups_of(found.shapes) == make_wrapped.lookups_of(plan(SMALL_MODEL).shapes)
    assert {shape.layers for shape in found.shapes if shape.dims["num_slices"] == 3} == {("qkv_proj",)}
    assert any("how often each is looked up is not known" in line for line in found.warnings)


def test_a_size_of_zero_is_none() -> None:
    assert any("lacks num_attention_heads" in line for line in plan(SMALL_MODEL | {"num_attention_heads": 0}).warnings)


def test_files_of_a_part_stop_no_server() -> None:
    """vLLM raises KeyError at a number of slices that a file lacks (contracts A8): its default stands there."""
    found = plan(without(SMALL_MODEL, "num_attention_heads"))
    server = servers.get("vllm")
    table: dict[str, Any] = {}
    for call in found.required:
        if call.op == "shrink":
            at = table
            *keys, last = server.key_path(call)
            for key in keys:
                at = at.setdefault(key, {})
            at[last] = server.default_config(call)
    qkv = Call("vllm", "shrink", {"max_loras": 5, "num_slices": 3, "m": 16, "k": 1024, "n": 16})
    assert server.resolve(table, qkv).config == server.default_config(qkv)
    assert not plan(SMALL_MODEL).placeholders


def test_nothing_that_is_targeted_can_be_planned() -> None:
    with pytest.raises(InputError, match="lacks num_attention_heads; give --set num_attention_heads=N"):
        plan(without(SMALL_MODEL, "num_attention_heads"), target_modules=("q_proj",))


@pytest.mark.parametrize("targets", [None, ("o_proj", "embed_tokens")])
def test_a_config_of_which_nothing_can_be_tuned_is_refused_with_what_gives_it(targets: tuple[str, ...] | None) -> None:
    """An embedding alone, whose width is known, keeps the server's default."""
    with pytest.raises(InputError, match=r"json: lacks num_attention_heads.*; give --set num_attention_heads=N"):
        plan({"hidden_size": 4096}, target_modules=targets)
    assert plan(SMALL_MODEL, target_modules=("embed_tokens",)).entries == []
