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
from autotune.kernels.aligned_moe_lora.space import Product, cannot_run
from autotune.kernels.common.tiles import cdiv, integers, next_pow2
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
def test_the_default_is_launched_as_it_says(
    kernel: AlignedGateUp | AlignedDown, m: int, block_m: int, rank: int, hidden: int, width: int
) -> None:
    sizes = {"m": m, "block_m": block_m, "lora_rank": rank, "hidden_size": hidden, "moe_intermediate_size": width}
    problem = kernel.problem_from_flags({**FLAGS, **sizes})
    config = kernel.default_config(problem, H200)
    assert kernel.cannot_run(kernel.call(problem), config, H200.shared_bytes) is None
    assert integers(config)["column_blocks"] <= cdiv(kernel.side.width(problem), integers(config)["block_n"])
    (launch,) = aligned_launches(kernel.make_inputs(problem, "meta", 0).arguments, config)
    told = ("num_warps", "num_stages", "BLOCK_M", "BLOCK_N", "BLOCK_K")
    assert {name: launch.options[name] for name in told} == {name: config[name.lower()] for name in told}
    assert launch.args[-1] == config["column_blocks"]


def test_a_default_has_blocks_for_idle_multiprocessors_and_repeats_no_shrink_on_busy_ones() -> None:
    shape = LaunchShape(16, 1, 4, 16, 14336, 4096, 16, 2, 8, H200.sms, H200.shared_bytes)
    assert default_config(shape)["column_blocks"] == H200.sms // 32
    busy = replace(shape, tokens=2048, experts=128)
    assert busy.busy_blocks > 2 * H200.sms
    assert default_config(busy)["column_blocks"] == 1
    assert default_config(replace(shape, tokens=64))["column_blocks"] == H200.sms // 40, (
        "4 adapters of 8 experts, 8 full"
    )


@pytest.mark.parametrize("shared_bytes", [99 * 1024, 163 * 1024, H200.shared_bytes], ids=["L4", "A100", "H200"])
@pytest.mark.parametrize("k", [96, 192, 2048])
@pytest.mark.parametrize("rank", [8, 16, 64, 128])
@pytest.mark.parametrize("block_m", BLOCK_MS)
def test_what_a_default_loads_ahead_fits_in_shared_memory(block_m: int, rank: int, k: int, shared_bytes: int) -> None:
    """Both loops have as many stages: the expand's tile of weights is as wide as a block of columns."""
    for tokens in (1, 4, 64, 4096):
        shape = LaunchShape(block_m, 1, 4, rank, k, 2048, tokens, 2, 8, 58, shared_bytes)
        c = integers(default_config(shape))
        product = Product(rank, k, 2048)
        assert cannot_run(product, c, shared_bytes) is None
        ahead = c["num_stages"] - 1
        for tile in (product.shrink_tile(c), product.expand_tile(c)):
            assert ahead * (tile.weight_tile_bytes + tile.x_tile_bytes) <= shared_bytes


@given(
    tokens=st.integers(1, 5000),
    block_m=st.sampled_from(BLOCK_MS),
    rank=st.sampled_from((16, 64, 128)),
    k=st.sampled_from((96, 192, 768, 4096)),
    experts=st.sampled_from((8, 60, 128)),
    sms=st.sampled_from((58, 132, 148)),
)
def test_batches_between_two_powers_of_two_share_a_default(
    tokens: int, block_m: int, rank: int, k: int, experts: int, sms: int
) -> None:
    shape = LaunchShape(block_m, 1, 4, rank, k, 2048, tokens, 6, experts, sms, H200.shared_bytes)
    assert default_config(shape) == default_config(replace(shape, tokens=next_pow2(tokens)))


@given(st.sampled_from(facts.ALIGNED_OPS), st.integers(16, 4096))
def test_what_a_lookup_alone_tells_is_the_default_of_many_rows(op: str, depth: int) -> None:
    """The server's folder cannot import the kernel's rule, nor the kernel take its thresholds from there: its sources
    are what studies know it by."""
    rows = LaunchShape(
        block_m=64,
        slices=1,
        adapters=4,
        rank=16,
        k=depth,
        n=2048,
        tokens=256,
        top_k=7,
        experts=128,
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
