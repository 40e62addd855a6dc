"""vLLM's fused MoE LoRA in two kernels, on a stand-in package of the same signatures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from autotune.contract import AnyKernel, registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.kernels.fused_moe_lora.problem import MoeProblem
from autotune.measure.accuracy import error_ratio, expected
from autotune.servers.vllm import served_modules

KERNELS = tuple(f"fused_moe_lora_{side}_{op}" for side in ("gate_up", "down") for op in ("shrink", "expand"))

DESCRIPTORS = MoeProblem("float16", 9, 40, 16, 24, 2, num_experts=3, top_k=2, max_loras=2)
NAIVE = MoeProblem("float16", 1, 40, 256, 24, 2, num_experts=8, top_k=1, max_loras=1)
SHARDED = MoeProblem("float16", 7, 68, 20, 23, 2, num_experts=3, top_k=2, max_loras=2, fully_sharded=True, tp=4)

pytestmark = pytest.mark.usefixtures("served_package")


def served(name: str, version: str = "0.33.0") -> AnyKernel:
    return registry.load(f"{name}@vllm-{version}")


def of_side(name: str, problem: MoeProblem) -> MoeProblem:
    return problem if "gate_up" in name else replace(problem, num_slices=1)


def module() -> Any:
    return served_modules.imported("fused_moe_lora_op")


@pytest.mark.parametrize("problem", [DESCRIPTORS, NAIVE, SHARDED], ids=["descriptors", "naive", "sharded"])
@pytest.mark.parametrize("name", KERNELS)
def test_it_computes_what_the_kernel_computes_at_each_block_m(name: str, problem: MoeProblem) -> None:
    """One argument set takes one block_m after the other, in whose order its values then are."""
    kernel = served(name)
    problem = of_side(name, problem)
    inputs = kernel.make_inputs(problem, "cpu", 3)
    want = expected(kernel, inputs)
    default = kernel.default_config(problem, H200)
    for block_m in (16, 256, 64, 16):
        assert error_ratio(kernel, inputs, {**default, "block_m": block_m}, want) <= 1


@pytest.mark.parametrize("name", KERNELS)
def test_what_lies_between_has_the_servers_shape(name: str) -> None:
    kernel = served(name)
    for problem, rank in ((DESCRIPTORS, 16), (SHARDED, 5 if name.endswith("gate_up_shrink") else 20)):
        arguments = kernel.make_inputs(of_side(name, problem), "cpu", 0).arguments
        if problem.fully_sharded:
            assert arguments.sorted is None
            continue
        width = problem.pairs + problem.num_experts * 15
        slices = 2 if "gate_up" in name else 1
        assert arguments.sorted.view(16).shape == (slices, problem.max_loras, width, rank)


@pytest.mark.parametrize("name", ["fused_moe_lora_gate_up_shrink", "fused_moe_lora_down_shrink"])
def test_what_a_shrink_leaves_unwritten_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = served(name)
    problem = of_side(name, DESCRIPTORS)
    inputs = kernel.make_inputs(problem, "cpu", 0)
    config = kernel.default_config(problem, H200)
    want = expected(kernel, inputs)
    monkeypatch.setattr(module()._fused_moe_lora_kernel, "function", lambda *_: None)
    assert error_ratio(kernel, inputs, config, want) > 1


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", KERNELS)
def test_the_config_under_test_is_recorded(name: str, device: str) -> None:
    kernel = served(name)
    problem = of_side(name, DESCRIPTORS)
    config = {**kernel.default_config(problem, H200), "num_warps": 2, "num_stages": 5}
    (launch,) = kernel.launches(kernel.make_inputs(problem, device, 0), config)
    assert launch.fn is module()._fused_moe_lora_kernel
    assert launch.grid[2] == problem.max_loras + 1
    assert (launch.options["num_warps"], launch.options["num_stages"]) == (2, 5)
    assert launch.options["USE_GDC"], "what the GPU will run, not what the interpreter can"


@pytest.mark.parametrize("name", KERNELS)
def test_spaces_hold_the_default_and_no_dead_order_of_tiles(name: str) -> None:
    kernel = served(name)
    for problem in (DESCRIPTORS, SHARDED):
        space = Space.build(kernel, of_side(name, problem), H200, "wide")
        assert space.incumbent == kernel.default_config(of_side(name, problem), H200)
        one_column = 256
        assert {c["group_size_m"] for c in space.configs if (c["block_n"] or 0) >= one_column} <= {8}


@pytest.mark.parametrize(
    ("version", "problem", "why"),
    [
        ("0.31.0", replace(DESCRIPTORS, dtype="bfloat16", rank=256), "stops at experts of rank 256"),
        ("0.32.0", SHARDED, "multiplies float16 experts as bfloat16"),
        ("0.31.0", replace(DESCRIPTORS, dtype="bfloat16", add_inputs=False), "never overwrites"),
        ("0.33.0", replace(SHARDED, add_inputs=False), "never overwrites"),
        ("0.33.0", replace(DESCRIPTORS, hidden=44), "multiples of 8"),
    ],
)
def test_what_no_server_of_the_release_runs_is_refused(version: str, problem: MoeProblem, why: str) -> None:
    for name in KERNELS:
        assert why in (served(name, version).refusal(of_side(name, problem)) or "")
        assert served(name).refusal(of_side(name, replace(DESCRIPTORS, rank=256))) is None


def test_values_of_pairs_survive_the_order_of_the_sorted_pairs() -> None:
    arguments = served("fused_moe_lora_gate_up_shrink").make_inputs(DESCRIPTORS, "cpu", 0).arguments
    values = torch.randn(arguments.between.shape).to(arguments.between.dtype)
    for block_m in (64, 16):
        arguments.sorted.order(block_m, values)
        back = arguments.sorted.by_pair(block_m)
        ids = arguments.tokens.rows[block_m].sorted_ids
        there = torch.isin(torch.arange(DESCRIPTORS.pairs), ids.long()).view(back.shape[1:3])
        torch.testing.assert_close(back[:, there], values[:, there], rtol=0, atol=0)
        assert not back[:, ~there].any()
