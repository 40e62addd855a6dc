"""How many segments a block of csgmv shrink takes: the rule, and what the space, the estimate and the default make of
it."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.csgmv_shrink import joining
from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink
from autotune.kernels.csgmv_shrink.problem import CsgmvShrinkProblem

CONFIG = {"BLOCK_N": 16, "BLOCK_K": 32, "num_warps": 4, "num_stages": 2}


@pytest.mark.parametrize(
    ("tokens", "segments", "chunk_size", "wanted", "joined"),
    [
        (30_720, 1920, 16, 1, 1),
        (30_720, 1920, 16, 4, 4),
        (30_720, 1920, 16, 8, 8),
        (30_720, 1920, 16, 16, 8),
        (30_720, 960, 32, 8, 4),
        (30_720, 240, 128, 8, 1),
        (30_720, 3840, 16, 8, 8),
        (30_720, 3841, 16, 8, 1),
        (2048, 128, 16, 8, 2),
        (64, 4, 16, 8, 1),
        (64, 256, 16, 8, 1),
        (256, 256, 16, 8, 1),
    ],
    ids=[
        "not wanted",
        "prompts",
        "to the most rows",
        "no more rows",
        "larger chunks",
        "the largest",
        "half full",
        "less than half",
        "a few blocks",
        "few tokens",
        "a decode graph",
        "a full one",
    ],
)
def test_segments_are_joined_where_they_are_full_and_plenty(
    tokens: int, segments: int, chunk_size: int, wanted: int, joined: int
) -> None:
    assert joining.joined(Segmentation(tokens, segments, chunk_size, slots=9), wanted, across=3) == joined


def problem(chunk_size: int = 16, **of_batch: Any) -> CsgmvShrinkProblem:
    sizes = {"tokens": 30720, "rank": 64, "num_slices": 3, "k": 1024}
    return CsgmvShrinkProblem("float16", chunk_size, **{**sizes, **of_batch})


@pytest.mark.parametrize(("chunk_size", "tried"), [(16, {1, 4, 8}), (32, {1, 2, 4}), (64, {1, 2}), (128, {1})])
def test_the_space_has_blocks_of_up_to_128_rows(chunk_size: int, tried: set[int]) -> None:
    wide, grid = (Space.build(CsgmvShrink(), problem(chunk_size), H200, name) for name in CsgmvShrink.spaces)
    assert {config["SEGMENTS"] for config in wide.configs} == tried
    own = CsgmvShrink().own_default(problem(chunk_size), H200)
    assert {config["SEGMENTS"] for config in grid.configs if config != own} == {1}
    assert all(config["SEGMENTS"] in (1, own["SEGMENTS"]) for config in grid.configs)


def test_no_trial_is_spent_on_joining_where_no_batch_is_joined() -> None:
    kernel, config = CsgmvShrink(), {**CONFIG, "SEGMENTS": 8}
    decode, mixed = (problem(tokens=200, workload="decode"), problem(workload="mixed", decode_requests=(8,)))
    assert kernel.canonical(decode, config, H200)["SEGMENTS"] == 1
    assert kernel.canonical(problem(tokens=2048), {**config, "BLOCK_N": 64}, H200)["SEGMENTS"] == 2
    assert kernel.canonical(mixed, config, H200)["SEGMENTS"] == 8
    assert kernel.canonical(problem(), CONFIG, H200) == {**CONFIG, "SEGMENTS": 1}, "older files lack it"
    assert {config["SEGMENTS"] for config in Space.build(kernel, decode, H200, "wide").configs} == {1}


def test_what_is_joined_takes_the_space_of_its_rows() -> None:
    kernel = CsgmvShrink()
    deep = {"BLOCK_N": 64, "BLOCK_K": 256, "num_warps": 4, "num_stages": 4}
    assert kernel.infeasible(problem(), {**deep, "SEGMENTS": 1}, H200) is None
    assert "shared memory" in str(kernel.infeasible(problem(), {**deep, "SEGMENTS": 8}, H200))
    call = kernel.call(problem())
    assert call is not None
    assert kernel.cannot_run(call, deep, H200.shared_bytes) is None
    assert "shared memory" in str(kernel.cannot_run(call, {**deep, "SEGMENTS": 8}, H200.shared_bytes))


@pytest.mark.parametrize("loras", [1, 8])
@pytest.mark.parametrize("chunk_size", [16, 32])
def test_the_estimate_knows_that_joined_blocks_read_weights_less_often(chunk_size: int, loras: int) -> None:
    kernel, config = CsgmvShrink(), {"BLOCK_N": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 3}
    small, large = (problem(chunk, num_loras=loras) for chunk in (chunk_size, 64))
    alone, joined = (kernel.estimate_us(small, {**config, "SEGMENTS": n}, H200) for n in (1, 64 // chunk_size))
    assert joined < 0.6 * alone
    assert joined == pytest.approx(kernel.estimate_us(large, config, H200), rel=0.05)


@pytest.mark.parametrize("chunk_size", [16, 32, 64, 128])
def test_without_a_file_prompts_of_small_chunks_run_in_blocks_of_64_rows(chunk_size: int) -> None:
    own = CsgmvShrink().own_default(problem(chunk_size), H200)
    assert own["SEGMENTS"] == max(1, 64 // chunk_size)
    few = CsgmvShrink().own_default(problem(chunk_size, tokens=100), H200)
    assert few["SEGMENTS"] == 1
