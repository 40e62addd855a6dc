"""vLLM's fused MoE LoRA in one call a side, on a stand-in package of the same signature."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from autotune.contract import AnyKernel, registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.kernels.fused_moe_lora.problem import MoeProblem
from autotune.servers.vllm import served_modules
from autotune.servers.vllm.served_moe import server_width

KERNELS = ("fused_moe_lora_gate_up_one_shot", "fused_moe_lora_down_one_shot")

SORTED = MoeProblem("float16", 9, 40, 16, 24, 2, num_experts=3, top_k=2, max_loras=2)
NAIVE = MoeProblem("float16", 1, 40, 128, 24, 2, num_experts=8, top_k=1, max_loras=1)
SMALL_BATCH = replace(NAIVE, rank=8)
SPREAD = replace(SORTED, num_experts=2, ep=3, add_inputs=False)
PROBLEMS = (SORTED, NAIVE, SMALL_BATCH, SPREAD)

pytestmark = pytest.mark.usefixtures("served_package")


def served(name: str) -> AnyKernel:
    return registry.load(f"{name}@vllm-0.33.0")


def of_side(name: str, problem: MoeProblem) -> MoeProblem:
    return problem if "gate_up" in name else replace(problem, num_slices=1)


def module() -> Any:
    return served_modules.imported("fused_moe_lora_op")


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.label)
@pytest.mark.parametrize("name", KERNELS)
def test_it_computes_what_the_op_computes_at_each_block_m(name: str, problem: MoeProblem) -> None:
    kernel = served(name)
    inputs = kernel.make_inputs(of_side(name, problem), "cpu", 3)
    for block_m in (16, 64, 256):
        kernel.poison(inputs)
        expected = kernel.reference(inputs, torch.float64)
        config = {"block_m": block_m}
        error = (kernel.run(inputs, config).double() - expected.value).abs()
        assert bool((error <= expected.bound(config)).all())


@pytest.mark.parametrize(
    ("problem", "launched"),
    [
        (SORTED, "_fused_moe_lora_one_shot_kernel"),
        (NAIVE, "_fused_moe_lora_one_shot_kernel"),
        (SMALL_BATCH, "_fused_moe_lora_small_batch_kernel"),
    ],
    ids=["sorted", "naive", "small batch"],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", KERNELS)
def test_the_op_chooses_its_kernel_and_the_launch_is_recorded(
    name: str, device: str, problem: MoeProblem, launched: str
) -> None:
    kernel = served(name)
    inputs = kernel.make_inputs(of_side(name, problem), device, 0)
    before = getattr(module(), launched), module().current_platform
    (launch,) = kernel.launches(inputs, {"block_m": 32})
    assert launch.fn is before[0]
    assert launch.options["BLOCK_M"] == (16 if problem.naive else 32)
    assert launch.grid[2] == (1 if problem.naive else problem.max_loras + 1)
    assert (getattr(module(), launched), module().current_platform) == before
    assert not before[0].launched


@pytest.mark.parametrize("name", KERNELS)
def test_arrays_are_as_wide_as_the_servers(name: str) -> None:
    kernel = served(name)
    for problem in (SORTED, SPREAD, replace(SPREAD, m=1)):
        tokens = kernel.make_inputs(of_side(name, problem), "cpu", 0).arguments.tokens
        for block_m in (16, 128):
            sorted_ids, expert_ids, _ = tokens.rows[block_m].tensors
            width = server_width(problem.pairs, problem.all_experts, block_m)
            assert sorted_ids.shape == (problem.max_loras, width)
            assert sorted_ids.is_contiguous()
            assert expert_ids.shape == (problem.max_loras, -(-width // block_m))


def test_block_m_is_searched_only_where_pairs_are_sorted() -> None:
    for name in KERNELS:
        kernel = served(name)
        found = {
            problem: len(Space.build(kernel, of_side(name, problem), H200, "wide"))
            for problem in (SORTED, NAIVE, SMALL_BATCH)
        }
        assert found == {SORTED: 4, NAIVE: 1, SMALL_BATCH: 1}


def test_a_table_of_an_address_that_was_used_before_is_made_anew() -> None:
    kernel = served(KERNELS[0])
    inputs = kernel.make_inputs(SORTED, "cpu", 0)
    again = kernel.op.arguments(inputs.builtin, SORTED)  # type: ignore[attr-defined]
    assert again.tables[0] is not inputs.arguments.tables[0]
    assert module()._LORA_PTR_DICT[tuple(w.data_ptr() for w in inputs.builtin.arguments.a)] is again.tables[0]
