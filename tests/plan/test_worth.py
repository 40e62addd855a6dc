"""What the searches of a plan are worth, where there is not time for all."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from autotune.contract import Call, registry
from autotune.plan.worth import worth
from autotune.study.membership import Membership

LAYERS = {
    "qkv": (36, (4096, 1024, 1024)),
    "o and down": (72, (4096,)),
    "gate_up": (36, (12288, 12288)),
    "head": (1, (4096,)),
}
"""Of a model of 36 blocks: launches a step, and widths."""


def study(layer: str, m: int, share: float = 1.0) -> Any:
    launches, widths = LAYERS[layer]
    kernel = registry.load("lora_expand")
    flags = {"dtype": "bfloat16", "m": m, "lora_rank": 16, "num_loras": 4, "num_slices": len(widths)}
    problem = kernel.problem_from_flags({**flags, "hidden_size": max(widths), "slice_widths": widths})
    place = Membership(0, share * launches, (), share=share)
    call = Call("vllm", "expand", {"m": m, "n": max(widths)})
    spec = SimpleNamespace(server_call=call)
    return SimpleNamespace(
        name=f"{layer} {m}",
        kernel=kernel,
        problem=problem,
        spec=spec,
        membership=lambda plan: place if plan == "it" else None,
    )


def model(m: int, share: float = 1.0) -> list[Any]:
    return [study(layer, m, share) for layer in LAYERS]


def test_at_each_size_it_is_the_part_of_a_step() -> None:
    found = worth([*model(1), *model(8192)], "it")
    for m in (1, 8192):
        assert sum(found[f"{layer} {m}"] for layer in LAYERS) == pytest.approx(1.0)
    assert max(found, key=lambda name: found[name]) == "gate_up 8192"
    # Of few tokens all launches take the same, and these are most.
    assert max(LAYERS, key=lambda layer: found[f"{layer} 1"]) == "o and down"
    assert min(found[f"head {m}"] for m in (1, 8192)) == min(found.values())


def test_where_time_is_short_each_size_has_its_largest_part() -> None:
    """And not one shape all of its sizes, of which most are a small part of a step."""
    found = worth([each for m in (1, 16, 64, 1024, 8192) for each in model(m)], "it")
    best = sorted(found, key=lambda name: -found[name])[:5]
    assert {name.rpartition(" ")[2] for name in best} == {"1", "16", "64", "1024", "8192"}


def test_where_traffic_is_known_time_counts() -> None:
    for share in (0.6, 0.5):
        found = worth([*model(16, share), *model(8192, 1 - share)], "it")
        assert found["qkv 8192"] > found["gate_up 16"]
    rare = worth([*model(16, 0.999), *model(8192, 0.001)], "it")
    assert rare["qkv 8192"] < rare["gate_up 16"]


@pytest.mark.parametrize("told", [0.0, 1.0], ids=["stored", "by an older release, which has not stored it"])
def test_a_size_without_traffic_is_worth_nothing(told: float) -> None:
    """Though it is all that a user asks for."""
    asked = model(4096, 0.0)
    for each in asked:
        place = replace(each.membership("it"), share=told)
        each.membership = lambda plan, place=place: place
    assert set(worth(asked, "it").values()) == {0.0}


def test_what_is_not_of_the_plan_is_not_said() -> None:
    assert worth(model(16), "another") == {}
