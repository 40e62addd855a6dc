"""What an SGLang server wraps by its flags and its adapters (contracts B4, B6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model.shape import load
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving

SERVING: dict[str, Any] = {"server": "sglang", "tp": 1, "rank": 16, "max_loras": 4}


def plan(name: str, *, tied: bool = False, **how: Any) -> Plan:
    serving = Serving(**SERVING | how)
    return make(replace(load(name), tied=tied), serving, Batches())


def lookups(made: Plan) -> set[tuple[str, int, int]]:
    return {(shape.op, shape.dims["K"], shape.dims["S"]) for shape in made.shapes}


def embeddings(made: Plan) -> set[str]:
    return {label for shape in made.shapes for label in shape.layers} & {"embed_tokens", "lm_head"}


@pytest.mark.parametrize(
    ("targets", "tied", "wrapped"),
    [
        (None, False, set()),
        (("all",), False, {"embed_tokens", "lm_head"}),
        (("all",), True, {"embed_tokens", "lm_head"}),
        (("all-linear",), False, {"embed_tokens", "lm_head"}),
        (("all-linear",), True, {"embed_tokens"}),
        (("q_proj", "all-linear", "lm_head"), True, {"embed_tokens", "lm_head"}),
        (("q_proj", "lm_head"), True, {"lm_head"}),
    ],
)
def test_embeddings_are_wrapped_as_they_are_named(
    targets: tuple[str, ...] | None, tied: bool, wrapped: set[str]
) -> None:
    assert embeddings(plan("Qwen3-8B", tied=tied, target_modules=targets)) == wrapped


def test_all_has_every_projection_and_the_head() -> None:
    usual = lookups(plan("Qwen3-8B"))
    assert lookups(plan("Qwen3-8B", target_modules=("all",))) == usual | {("expand", 151936, 1)}


def test_spreading_experts_changes_no_dense_lookup() -> None:
    assert lookups(plan("Qwen3-30B-A3B", tp=2, expert_parallel=True)) == lookups(plan("Qwen3-30B-A3B", tp=2))


@pytest.mark.parametrize("name", ["gate", "experts", "router"])
def test_modules_that_have_no_pool_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--target-modules: got {name}, which SGLang puts no LoRA on"):
        plan("Qwen3-30B-A3B", target_modules=("q_proj", name))
