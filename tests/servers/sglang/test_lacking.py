"""Plans for SGLang of configs that lack a size: what can be known is planned, and the rest is named."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model import shape
from autotune.model.sources import Source
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from tests.builders.samples import SMALL_MODEL


def plan(tp: int = 1, targets: tuple[str, ...] | None = None, **changes: Any) -> Plan:
    config = {name: value for name, value in {**SMALL_MODEL, **changes}.items() if value is not None}
    serving = Serving("sglang", tp, 16, 4, target_modules=targets)
    return make(shape.read(Source("model", "config.json", config), {}), serving, Batches())


def keys(found: Plan) -> set[tuple[Any, ...]]:
    return {shape.key for shape in found.shapes}


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("num_attention_heads", "qkv_proj, o_proj"),
        ("intermediate_size", "gate_up_proj, down_proj"),
        ("vocab_size", "lm_head"),
    ],
)
def test_what_follows_from_other_fields_is_planned(tp: int, field: str, names: str) -> None:
    targets = ("q_proj", "o_proj", "up_proj", "down_proj", "lm_head")
    whole, part = plan(tp, targets), plan(tp, targets, **{field: None})
    assert keys(part) < keys(whole)
    told = (
        f"{names}: not planned, since the config lacks {field}; give --set {field}=N, or the server has its default "
        "for them"
    )
    assert told in part.warnings


def test_of_layers_without_a_number_each_is_planned_once() -> None:
    part = plan(num_hidden_layers=None)
    assert keys(part) == keys(plan())
    assert all(layer.isidentifier() for each in part.shapes for layer in each.layers)


@pytest.mark.parametrize(("changes", "targets"), [({"hidden_size": None}, None), ({"vocab_size": None}, ("lm_head",))])
def test_where_nothing_is_known_the_field_is_named(changes: dict[str, None], targets: tuple[str, ...] | None) -> None:
    (field,) = changes
    with pytest.raises(InputError, match=f"lacks {field}; give --set {field}=N"):
        plan(1, targets, **changes)


@pytest.mark.parametrize(
    ("field", "sizes"),
    [
        ("num_attention_heads", {"heads", "head_dim"}),
        ("intermediate_size", {"intermediate"}),
        ("vocab_size", {"vocab"}),
        ("num_hidden_layers", {"layers", "dense_layers"}),
    ],
)
def test_what_stands_for_a_size_is_told_as_no_size(field: str, sizes: set[str]) -> None:
    whole, part = (each.to_json()["model"] for each in (plan(), plan(1, None, **{field: None})))
    assert {name for name, value in part.items() if value is None and whole[name] is not None} == sizes
    kept = set(whole) - sizes - {"lacking"}
    assert {name: part[name] for name in kept} == {name: whole[name] for name in kept}


@pytest.mark.parametrize("fields", [("num_attention_heads", "num_key_value_heads"), ("intermediate_size",)])
def test_nothing_is_asked_of_what_stands_for_a_size(fields: tuple[str, ...]) -> None:
    """4096 stands for each, which three GPUs do not divide: the plan is made of what they divide."""
    sound = {"hidden_size": 768, "num_attention_heads": 12, "num_key_value_heads": 3, "intermediate_size": 3072}
    lacking: dict[str, None] = dict.fromkeys(fields)
    assert keys(plan(3, None, **{**sound, **lacking})) < keys(plan(3, None, **sound))


def test_shared_experts_of_an_unknown_width_are_told_as_unknown() -> None:
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 3, "intermediate_size": None}
    config = {**SMALL_MODEL, **experts}
    model = shape.read(Source("model", "config.json", config), {})
    assert model.lacking == ("moe_intermediate_size",)
    told = model.to_json()["experts"]
    assert (told["intermediate"], told["shared"], told["count"]) == (None, None, 8)


@pytest.mark.parametrize("shared", [0, 1])
def test_no_layer_is_named_that_the_model_has_not(shared: int) -> None:
    """Routed experts read no file: of an expert's width only shared experts would follow."""
    experts = {"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 8, "num_experts_per_tok": 2}
    part = plan(1, None, **experts, intermediate_size=None, n_shared_experts=shared)
    assert any(line.startswith("shared_experts.gate_up_proj") for line in part.warnings) == bool(shared)
    assert any("not planned, since" in line for line in part.warnings) == bool(shared)
