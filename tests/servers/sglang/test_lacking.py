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
