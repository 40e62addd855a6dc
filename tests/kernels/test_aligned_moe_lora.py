"""The experts' kernel in the server's place: its default, its space, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.errors import InputError
from autotune.kernels.aligned_moe_lora.defaults import LaunchShape, default_config
from autotune.kernels.aligned_moe_lora.kernel import AlignedDown, AlignedGateUp
from autotune.kernels.aligned_moe_lora.launcher import aligned_launches
from autotune.kernels.fused_moe_lora.one_shot import one_shot_launches
from autotune.kernels.fused_moe_lora.problem import BLOCK_MS
from autotune.servers.vllm import aligned, facts

FLAGS = {
    "dtype": "bfloat16",
    "m": 64,
    "hidden_size": 512,
    "moe_intermediate_size": 384,
    "lora_rank": 16,
    "num_loras": 3,
    "num_experts": 16,
    "top_k_num": 4,
}
SIDES = (AlignedGateUp(), AlignedDown())

each_side = pytest.mark.parametrize("kernel", SIDES, ids=lambda kernel: kernel.name)


@given(
    kernel=st.sampled_from(SIDES),
    m=st.integers(8, 4096),
    block_m=st.sampled_from(BLOCK_MS),
    rank=st.sampled_from((8, 16, 64, 128)),
    hidden=st.sampled_from((96, 512, 2048)),
    width=st.sampled_from((48, 384, 14336)),
)
def test_the_default_is_vllms_launch_except_for_the_warps_of_tall_blocks(
    kernel: AlignedGateUp | AlignedDown, m: int, block_m: int, rank: int, hidden: int, width: int
) -> None:
    sizes = {"m": m, "block_m": block_m, "lora_rank": rank, "hidden_size": hidden, "moe_intermediate_size": width}
    problem = kernel.problem_from_flags({**FLAGS, **sizes})
    inputs = kernel.make_inputs(problem, "meta", 0).arguments
    config = kernel.default_config(problem, H200)
    (ours,), (theirs,) = aligned_launches(inputs, config), one_shot_launches(inputs, {"block_m": block_m})
    assert (ours.grid, ours.args[-1]) == (theirs.grid, theirs.args[-1])
    warps = 8 if block_m == 128 else theirs.options["num_warps"]
    assert ours.options == {**theirs.options, "num_warps": warps}


@given(st.sampled_from(facts.ALIGNED_OPS), st.integers(16, 4096))
def test_what_a_lookup_alone_tells_is_the_default_of_many_rows(op: str, depth: int) -> None:
    """The server's folder cannot import the kernel's rule, nor the kernel take its thresholds from there: its sources
    are what studies know it by."""
    rows = LaunchShape(
        block_m=64,
        row_blocks=10**6,
        k=depth,
        n=2048,
        pairs=1,
        experts=16,
        sms=H200.sms,
        shared_bytes=H200.shared_bytes,
    )
    assert aligned.default_config(op, {"n" if op == facts.ALIGNED_W13 else "i": depth}) == default_config(rows)


@pytest.mark.parametrize("block_m", BLOCK_MS)
@each_side
def test_no_trial_goes_to_another_block_m(kernel: AlignedGateUp | AlignedDown, block_m: int) -> None:
    space = Space.build(kernel, kernel.problem_from_flags({**FLAGS, "block_m": block_m}), H200, "wide")
    assert {config["block_m"] for config in space.configs} == {block_m}
    assert len(space) > 20


@each_side
def test_a_study_for_each_block_m_has_a_name_and_a_lookup_of_its_own_and_one_key(kernel: Any) -> None:
    problems = [kernel.problem_from_flags({**FLAGS, "block_m": block_m}) for block_m in BLOCK_MS]
    assert len({each.label for each in problems}) == len(BLOCK_MS)
    assert len({str(kernel.call(each)) for each in problems}) == 1
    assert all(kernel.problem_type.from_json(each.to_json()) == each for each in problems)


@each_side
def test_fused_gate_and_up_are_one_slice_of_twice_the_width(kernel: AlignedGateUp | AlignedDown) -> None:
    problem = kernel.problem_from_flags({**FLAGS, "num_slices": 1, "moe_intermediate_size": 768})
    assert kernel.call(problem).dims["num_slices"] == 1
    assert kernel.call(problem).dims["i"] == 768


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"block_m": 24}, "block_m: got 24, allowed: 16, 32, 64, 128"),
        ({"lora_rank": 256}, "aligned_moe_lora: got rank 256"),
        ({"fully_sharded": 1, "tp": 2}, "fully sharded, allowed"),
        ({"m": 1}, "m: got 1, so few tokens"),
    ],
)
def test_what_the_plug_in_would_not_look_up_is_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SIDES[0].problem_from_flags({**FLAGS, **change})


def test_a_config_with_more_thread_blocks_than_columns_is_not_tried() -> None:
    kernel = registry.load("aligned_moe_lora_down")
    problem = kernel.problem_from_flags(FLAGS)
    config = {**kernel.default_config(problem, H200), "block_n": 256, "column_blocks": 4}
    assert "only 2 blocks of columns" in str(kernel.infeasible(problem, config, H200))
    assert kernel.infeasible(problem, {**config, "column_blocks": 2}, H200) is None
    assert kernel.infeasible(replace(problem, hidden=2048), config, H200) is None
