"""csgmv shrink's semantics that the conformance suite cannot see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.contract import Config
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.kernels.common.chunks import ChunkedBatch, Pool
from autotune.kernels.common.csgmv_execution import random_batch
from autotune.kernels.csgmv_shrink import csgmv_shrink, launcher
from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink
from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments, shrink_launches
from autotune.kernels.csgmv_shrink.problem import CsgmvShrinkProblem
from autotune.servers.sglang import facts
from tests.builders.csgmv_batches import (
    MAX_RANK,
    POOL,
    SEGMENT_SIZES,
    SLOTS,
    batch,
    configs_launched,
    in_segments,
    serve_config,
)
from tests.builders.csgmv_shrinks import K, assert_right, shrink_arguments
from tests.builders.dense_lora import half_dtypes
from tests.builders.refusals import assert_refused_in_a_line

CONFIG = {"BLOCK_N": 16, "BLOCK_K": 32, "num_warps": 4, "num_stages": 1}
FLAGS = {"dtype": "torch.float16", "hidden_size": 1024, "lora_rank": 64, "num_slices": 3, "chunk_size": 16}


@pytest.fixture
def make(device: str) -> Callable[..., CsgmvShrinkArguments]:
    return partial(shrink_arguments, device)


@pytest.mark.parametrize("chunk_size", [16, 32, 64, 128])
@pytest.mark.parametrize("slices", [1, 3])
def test_ranks_base_tokens_and_part_filled_segments(make: Any, device: str, slices: int, chunk_size: int) -> None:
    for dtype in half_dtypes(device):
        arguments = make(slices, dtype, chunk_size=chunk_size)
        csgmv_shrink(arguments, CONFIG)
        assert_right(arguments)


@pytest.mark.parametrize("config", [{"BLOCK_N": 64, "BLOCK_K": 128}, {"BLOCK_N": 32, "BLOCK_K": 16}], ids=str)
def test_blocks_beyond_the_problem_and_compilers_choice(make: Any, config: dict[str, int]) -> None:
    arguments = make()
    csgmv_shrink(arguments, {**config, "num_warps": None, "num_stages": None})
    assert_right(arguments)


@pytest.mark.parametrize("slots", [[0], [2], [1] * 16, [1] * 17, [3, 2, 1, 0] * 20], ids=len)
def test_other_batches(make: Any, slots: list[int]) -> None:
    arguments = make(slots=slots)
    csgmv_shrink(arguments, CONFIG)
    assert_right(arguments, slots)


def test_empty_segments_of_a_graphs_buffer_do_nothing(make: Any) -> None:
    """There are no blocks for them, as far as the host knows how many there are at least."""
    arguments = make(segments=40)
    most_used = min(len(SLOTS), (len(SLOTS) + 15 * arguments.a.shape[0]) // 16)
    assert launcher.shrink_launches(arguments, CONFIG)[0].grid[1] == most_used < 40
    csgmv_shrink(arguments, CONFIG)
    assert_right(arguments)


@pytest.mark.parametrize("sizes", SEGMENT_SIZES, ids=str)
def test_segments_of_any_size(make: Any, sizes: tuple[int, ...]) -> None:
    arguments = make(slots=[1] * sum(sizes))
    arguments = replace(arguments, batch=in_segments(arguments.batch, sizes))
    csgmv_shrink(arguments, CONFIG)
    assert_right(arguments, [1] * sum(sizes))


def test_runs_are_bitwise_equal(make: Any) -> None:
    arguments = make(pool=Pool((16,) * 4, (1.0,) * 4))
    first = csgmv_shrink(arguments, CONFIG).clone()
    assert all(torch.equal(csgmv_shrink(arguments, CONFIG), first) for _ in range(3))


def test_no_tokens(make: Any) -> None:
    assert csgmv_shrink(make(slots=[]), CONFIG).shape == (0, 32)


def test_strided_or_mixed_arguments_are_refused(make: Any) -> None:
    arguments = make()
    with pytest.raises(ValueError, match=r"contiguous and of one type, x is torch\.float16"):
        replace(arguments, out=arguments.out.float())
    with pytest.raises(ValueError, match="must be contiguous"):
        replace(arguments, x=arguments.x.T.contiguous().T)


def test_segments_are_chunks_of_one_adapter(device: str) -> None:
    made = batch(device, [2, 1, 2, 1, 1] * 7, segments=6)
    assert made.seg_indptr.tolist() == [0, 16, 21, 35, 35, 35, 35]
    assert made.weight_indices.tolist() == [1, 1, 2, 0, 0, 0]
    assert made.permutation[:3].tolist() == [1, 3, 4]
    assert (made.segments, made.rank_alignment) == (6, 1)
    with pytest.raises(ValueError, match="has 3 segments, the buffer holds 2"):
        batch(device, [2, 1, 2, 1, 1] * 7, segments=2)


@pytest.mark.parametrize(("ranks", "alignment"), [((0, 64, 16), 8), ((64, 8), 8), ((12,), 1), ((64, 5), 1)])
def test_ranks_say_how_wide_accesses_may_be(ranks: tuple[int, ...], alignment: int) -> None:
    made = ChunkedBatch.build(torch.zeros(1, dtype=torch.long), Pool(ranks, (1.0,) * len(ranks)), 16, "cpu")
    assert made.rank_alignment == alignment


def test_accesses_are_wide_where_the_host_knows_the_ranks(make: Any) -> None:
    """A graph is replayed with adapters of other ranks, which the kernel does not look at."""
    arguments = make()
    arguments = replace(arguments, batch=replace(arguments.batch, rank_alignment=8))
    for unknown, alignment in ((False, 8), (True, 1)):
        (launch,) = shrink_launches(replace(arguments, check_ranks=unknown), CONFIG)
        assert launch.options["RANK_ALIGNMENT"] == alignment


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Config]]:
    yield from configs_launched(launcher, "shrink", monkeypatch)


def test_launcher_takes_what_the_server_would(
    make: Any, launched: list[Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(facts.CONFIG_FOLDER, raising=False)
    csgmv_shrink(make())
    assert launched.pop() == {"BLOCK_N": 16, "BLOCK_K": 256}
    call = CsgmvShrink().call(CsgmvShrinkProblem("float16", 16, 26, MAX_RANK, 2, k=K))
    tuned = {"BLOCK_N": 32, "BLOCK_K": 64, "num_warps": 8}
    serve_config(tmp_path, call, tuned, monkeypatch)
    csgmv_shrink(make())
    assert launched == [tuned]


def test_flags() -> None:
    problem = CsgmvShrink().problem_from_flags(FLAGS)
    assert problem == CsgmvShrinkProblem("float16", 16, 30720, 64, 3, k=1024)
    assert problem.label == "t30720-k1024-r64-s3-chunk16-prefill-float16"
    dims = CsgmvShrink().call(problem).dims
    assert dims == {"K": 1024, "R": 64, "S": 3, "chunk_size": 16}


def test_decode_flags() -> None:
    flags = {"workload": "decode", "total_tokens": 200, "num_loras": 8, "num_active_loras": 4, "dtype": "bfloat16"}
    problem = CsgmvShrink().problem_from_flags(FLAGS | flags)
    assert random_batch(problem, "cpu", 0).segments == 256
    assert sum(problem.tokens_by_slot) == 200
    assert problem.tokens_by_slot == (12, 90, 45, 30, 23, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float32"}, "dtype: got 'float32', allowed: float16, bfloat16"),
        ({"chunk_size": 48}, "--chunk-sizes: got 48, allowed: 16, 32, 64, 128"),
        ({"chunk_size": None}, "--chunk-size: not given"),
        ({"hidden_size": None}, "--hidden-size: not given"),
        ({"hidden_size": 0}, "k: got 0"),
        ({"lora_rank": None}, "--lora-rank: not given"),
        ({"workload": "both"}, "workload: got 'both', allowed: prefill, decode, mixed"),
        ({"total_tokens": 0}, "tokens: got 0"),
        ({"num_loras": 2, "num_active_loras": 3}, "--num-active-loras: got 3, allowed: 1 to the 2 of --num-loras"),
        ({"num_loras": 2, "adapter_ranks": "64,128"}, "--adapter-ranks: got 64, 128, allowed: one for each of"),
        ({"adapter_ranks": "x"}, "--adapter-ranks: got 'x', allowed: integers"),
    ],
    ids=str,
)
def test_bad_flags(change: dict[str, Any], message: str) -> None:
    assert_refused_in_a_line(CsgmvShrink(), FLAGS | change, message)


def test_default_sets_no_warps_or_stages_and_is_not_tried_twice() -> None:
    kernel, problem = CsgmvShrink(), CsgmvShrinkProblem("float16", 16, 30720, 64, 3, k=1024)
    default = kernel.default_config(problem, H200)
    assert default == {"BLOCK_N": 16, "BLOCK_K": 256, "num_warps": None, "num_stages": None, "SEGMENTS": 1}
    assert kernel.canonical(problem, {**default, "num_warps": 4, "num_stages": 3}, H200) == default
    assert kernel.infeasible(problem, default, H200) is None


@pytest.mark.parametrize("chunk_size", [16, 32, 64, 128])
def test_spaces_are_a_few_hundred_configs_with_the_default_first(chunk_size: int) -> None:
    problem = CsgmvShrinkProblem("float16", chunk_size, 30720, 64, 3, k=1024)
    wide, grid = (Space.build(CsgmvShrink(), problem, H200, name) for name in CsgmvShrink.spaces)
    assert wide.incumbent == grid.incumbent == CsgmvShrink().default_config(problem, H200)
    assert 100 < len(wide) < 950
    assert 40 < len(grid) <= 55
    assert {"BLOCK_N": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 3, "SEGMENTS": 1} in grid.configs


def test_recording_is_of_the_very_problem() -> None:
    problem = CsgmvShrinkProblem("float16", 16, 30720, 64, 3, k=1024)
    assert CsgmvShrink().recording(problem) == "sglang_shrink_K1024_R64_S3_chunk16"
    others = ({"dtype": "bfloat16"}, {"tokens": 64}, {"workload": "decode"}, {"adapter_ranks": (32,)})
    assert [CsgmvShrink().recording(replace(problem, **other)) for other in others] == [None] * 4


def test_floor_counts_what_is_used() -> None:
    one = CsgmvShrink().floor(CsgmvShrinkProblem("float16", 16, 30720, 64, 3, k=1024))
    assert one.us(4.28e12) == pytest.approx(17.6, abs=0.1)
    two = CsgmvShrinkProblem("float16", 16, 32, 64, 1, num_loras=2, adapter_ranks=(64, 16), k=128)
    used = [(64, 20), (16, 10)]
    want = 2 * sum(tokens * 128 + rank * 128 + rank * tokens for rank, tokens in used)
    assert (two.tokens_by_slot, CsgmvShrink().floor(two).bytes) == ((2, 20, 10), want)


def test_pool_ranks_name_the_base_model_first() -> None:
    assert CsgmvShrinkProblem("float16", 16, 8, 16, 1, num_loras=2, k=16).pool_ranks == (0, 16, 16)
    assert POOL.ranks[0] == 0
