"""csgmv expand's semantics that the conformance suite cannot see."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autotune.contract import Call, Config
from autotune.contract.gpu import H200
from autotune.contract.gpu_names import SHARED_BYTES
from autotune.contract.space import Space
from autotune.kernels.common.chunks import Pool
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import integers
from autotune.kernels.csgmv_expand import csgmv_expand, launcher, walking
from autotune.kernels.csgmv_expand.defaults import Ranks, default_config
from autotune.kernels.csgmv_expand.kernel import CsgmvExpand
from autotune.kernels.csgmv_expand.launcher import CsgmvExpandArguments, expand_launches
from autotune.kernels.csgmv_expand.problem import CsgmvExpandProblem
from autotune.kernels.csgmv_expand.walking import STEP_ROWS, step_rows
from autotune.servers.sglang import facts
from tests.builders.csgmv_batches import (
    MAX_RANK,
    SEGMENT_SIZES,
    SLOTS,
    batch,
    configs_launched,
    dot_bound,
    in_segments,
    rounding,
    serve_config,
)
from tests.builders.dense_lora import half_dtypes
from tests.builders.refusals import assert_refused_in_a_line

CONFIG = {"BLOCK_N": 32, "BLOCK_K": 16, "num_warps": 4, "num_stages": 1, "maxnreg": None}
QKV = (2048, 1024, 1024)
FLAGS = {"dtype": "half", "output_dim": 6144, "lora_rank": 64, "num_slices": 2, "chunk_size": 16}
PADDING = 8


@pytest.fixture
def make(device: str) -> Callable[..., CsgmvExpandArguments]:
    def make(
        widths: tuple[int, ...] = (48, 16),
        dtype: torch.dtype = torch.float16,
        slots: list[int] = SLOTS,
        **of_batch: Any,
    ) -> CsgmvExpandArguments:
        torch.manual_seed(0)
        made = batch(device, slots, **of_batch)
        ranks = made.lora_ranks.tolist()
        x = torch.randn(len(slots), len(widths) * MAX_RANK, dtype=dtype, device=device)
        b = torch.randn(len(ranks), sum(widths), MAX_RANK, dtype=dtype, device=device)
        for t, slot in enumerate(slots):
            x[t, len(widths) * ranks[slot] :] = torch.nan
        for slot, rank in enumerate(ranks):
            b[slot, :, rank:] = torch.nan
        wide = torch.randn(len(slots), sum(widths) + PADDING, dtype=dtype, device=device)
        return CsgmvExpandArguments(x, b, wide[:, : sum(widths)], made, widths)

    return make


def check(arguments: CsgmvExpandArguments, slots: list[int] = SLOTS, config: dict[str, int | None] = CONFIG) -> None:
    """Run, and compare with the bound of README.md; base tokens and what lies beside the output must not change."""
    ranks, scalings = arguments.batch.lora_ranks.tolist(), arguments.batch.scalings.tolist()
    everything = torch.as_strided(arguments.out, (len(slots), arguments.out.stride(0)), (arguments.out.stride(0), 1))
    right, dtype = everything.double(), arguments.out.dtype
    bound = torch.zeros_like(right)
    for t, slot in enumerate(slots):
        rank = ranks[slot]
        for s, (first, last) in enumerate(itertools.pairwise(arguments.slice_offsets)):
            x = arguments.x[t, s * rank : (s + 1) * rank].double()
            b = arguments.b[slot, first:last, :rank].double()
            product = scalings[slot] * (b @ x)
            error = dot_bound(rank, abs(scalings[slot]) * (b.abs() @ x.abs()))
            if rank:
                error += rounding(product.abs() + error, dtype)
                error += rounding((right[t, first:last] + product).abs() + error, dtype)
            right[t, first:last] += product
            bound[t, first:last] = error
    csgmv_expand(arguments, config)
    error = (everything.double() - right).abs()
    assert bool((error <= bound).all()), f"{(~(error <= bound)).sum().item()} of {error.numel()} wrong"


@pytest.mark.parametrize("chunk_size", [16, 32, 64, 128])
@pytest.mark.parametrize("widths", [(40,), (48, 48), (64, 16, 16), (9, 33)], ids=str)
def test_ranks_base_tokens_and_unequal_slices(make: Any, device: str, widths: tuple[int, ...], chunk_size: int) -> None:
    for dtype in half_dtypes(device):
        check(make(widths, dtype, chunk_size=chunk_size))


@pytest.mark.parametrize(
    "config", [{"BLOCK_N": 64, "BLOCK_K": 32}, {"BLOCK_N": 16, "BLOCK_K": 16}, {"BLOCK_N": 128, "BLOCK_K": 64}], ids=str
)
def test_blocks_beyond_the_problem_and_compilers_choice(make: Any, config: dict[str, int]) -> None:
    check(make(), config={**config, "num_warps": None, "num_stages": None, "maxnreg": None})


def test_several_steps_of_rank(device: str) -> None:
    torch.manual_seed(0)
    slots, rank = [0, 1] * 9, 40
    made = batch(device, slots, pool=Pool((40, 24), (1.5, -1.0)))
    x, b = torch.randn(18, 2 * rank, device=device).half(), torch.randn(2, 32, rank, device=device).half()
    check(CsgmvExpandArguments(x, b, torch.randn(18, 32, device=device).half(), made, (16, 16)), slots)


@pytest.mark.parametrize("slots", [[0], [2], [1] * 16, [1] * 17, [3, 2, 1, 0] * 20], ids=len)
def test_other_batches(make: Any, slots: list[int]) -> None:
    check(make(slots=slots), slots)


def test_adds_again_at_every_run(make: Any) -> None:
    arguments = make()
    check(arguments)
    check(arguments)


def test_empty_segments_of_a_graphs_buffer_do_nothing(make: Any) -> None:
    """There are no blocks for them, as far as the host knows how many there are at least."""
    arguments = make(segments=40)
    most_used = min(len(SLOTS), (len(SLOTS) + 15 * arguments.b.shape[0]) // 16)
    assert expand_launches(arguments, CONFIG)[0].grid[1] == most_used < 40
    check(arguments)


@pytest.mark.parametrize("sizes", SEGMENT_SIZES, ids=str)
@pytest.mark.parametrize("chunk_size", [16, 64])
def test_segments_of_any_size(make: Any, sizes: tuple[int, ...], chunk_size: int) -> None:
    slots = [1] * sum(sizes)
    arguments = make(slots=slots, chunk_size=chunk_size)
    arguments = replace(arguments, batch=in_segments(arguments.batch, sizes))
    check(arguments, slots)


@pytest.fixture
def many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks walk through many rows, as they do on large batches."""
    monkeypatch.setattr("autotune.kernels.csgmv_expand.walking._ENOUGH_WARPS", 1)


ONE, TWO, THREE = [1] * 150, [1] * 70 + [2] * 77, [3] * 20 + [0] * 50 + [1] * 33 + [2]


def mixed(slots: list[int]) -> list[int]:
    return [slots[i] for i in torch.randperm(len(slots), generator=torch.Generator().manual_seed(0)).tolist()]


def taken(arguments: CsgmvExpandArguments, config: Config = CONFIG) -> tuple[int, int, int]:
    """Returns the rows of a step, the segments of a block, and the blocks that share a segment."""
    (launch,) = expand_launches(arguments, config)
    if "SEGMENTS" not in launch.options:
        return launch.options["BLOCK_M"], 0, 0
    return launch.options["BLOCK_M"], launch.options["SEGMENTS"], launch.args[-2]


@pytest.mark.usefixtures("many_rows")
@pytest.mark.parametrize("chunk_size", [16, 32, 64, 128])
@pytest.mark.parametrize("slots", [ONE, TWO, THREE], ids=["one adapter", "two", "all in one block"])
def test_walking_through_segments(make: Any, slots: list[int], chunk_size: int) -> None:
    arguments = make(slots=mixed(slots), chunk_size=chunk_size)
    check(arguments, mixed(slots))


@pytest.mark.parametrize("slots", [ONE, TWO], ids=["one adapter", "two"])
@pytest.mark.parametrize("enough", [50, 100])
def test_blocks_that_share_a_segment(make: Any, slots: list[int], enough: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.kernels.csgmv_expand.walking._ENOUGH_WARPS", enough)
    arguments = make(slots=mixed(slots), chunk_size=64)
    assert taken(arguments)[2] > 1
    check(arguments, mixed(slots))


@pytest.mark.usefixtures("many_rows")
@pytest.mark.parametrize("stale", [0, 1, 2])
def test_walking_over_empty_segments_with_stale_indices(make: Any, stale: int) -> None:
    slots = [1] * 32 + [2] * 16
    arguments = make(slots=slots, segments=5)
    arguments.batch.weight_indices[3:] = stale
    assert taken(arguments)[1] > 1
    check(arguments, slots)


@pytest.mark.usefixtures("many_rows")
@pytest.mark.parametrize(
    ("of_batch", "block_k", "expected"),
    [
        ({}, 16, (16, 16, 1)),
        ({}, 8, (16, 0, 0)),
        ({"chunk_size": 64}, 8, (64, 0, 0)),
        ({"chunk_size": 64}, 16, (16, 4, 1)),
        ({"segments": 40}, 16, (16, 0, 0)),
        ({"segments": 40, "chunk_size": 64}, 16, (16, 0, 0)),
    ],
    ids=["small chunks", "several K steps", "large chunks in them", "large chunks", "mostly empty", "and large"],
)
def test_who_walks(make: Any, of_batch: dict[str, int], block_k: int, expected: tuple[int, int, int]) -> None:
    arguments = make(slots=ONE, **of_batch)
    assert taken(arguments, CONFIG | {"BLOCK_K": block_k}) == expected


@pytest.mark.parametrize("alignment", [8, 16])
@pytest.mark.parametrize("slots", [SLOTS, TWO, THREE], ids=["few tokens", "two adapters", "all in one block"])
def test_ranks_that_the_host_does_not_know_are_looked_at(
    make: Any, slots: list[int], alignment: int, request: pytest.FixtureRequest
) -> None:
    """The pool has ranks 16, 8 and 5: each way is taken."""
    if slots is not SLOTS:
        request.getfixturevalue("many_rows")
    arguments = make(slots=slots)
    unknown = replace(arguments.batch, rank_alignment=alignment)
    check(replace(arguments, batch=unknown, check_ranks=True), slots)


@given(
    tokens=st.integers(1, 40_000),
    spread=st.integers(1, 16),
    chunk_size=st.sampled_from(facts.CHUNK_SIZES),
    tiles=st.integers(1, 500),
    warps=st.sampled_from((1, 2, 4, 8)),
)
def test_blocks_have_all_rows_once(tokens: int, spread: int, chunk_size: int, tiles: int, warps: int) -> None:
    """Whatever a block takes, it is whole steps; the rows are as many as leave enough warps, or as few as there can
    be."""
    segments = min(tokens, -(-tokens // chunk_size) * spread)
    found = walking.walk(Segmentation(tokens, segments, chunk_size, slots=9), tiles, warps)
    if found is None:
        assert chunk_size == STEP_ROWS or 2 * tokens < segments * chunk_size
        return
    assert min(found.segments, found.parts) == 1
    rows = chunk_size * found.segments // found.parts
    assert rows % STEP_ROWS == 0
    assert rows in (16, 32, 64, 128, 256)
    more = -(-segments * chunk_size // (2 * rows))
    assert rows == 256 or tiles * more * warps < 1536


def test_few_blocks_do_not_walk(make: Any) -> None:
    assert taken(make(slots=ONE)) == (16, 0, 0)
    assert taken(make(slots=ONE, chunk_size=128)) == (16, 1, 8)


def test_left_to_triton_is_not_passed_on(make: Any) -> None:
    unset = expand_launches(make(), CONFIG | {"num_warps": None})[0].options
    assert "num_warps" not in unset
    assert "maxnreg" not in unset
    assert expand_launches(make(), CONFIG | {"maxnreg": 96})[0].options["maxnreg"] == 96


def test_no_tokens(make: Any) -> None:
    assert csgmv_expand(make(slots=[]), CONFIG).shape == (0, 64)


def test_unfit_arguments_are_refused(make: Any) -> None:
    arguments = make()
    with pytest.raises(ValueError, match=r"all of one type; x is torch\.float16"):
        replace(arguments, out=arguments.out.float())
    with pytest.raises(ValueError, match="x and b must be contiguous"):
        replace(arguments, x=arguments.x.T.contiguous().T)
    with pytest.raises(ValueError, match="out must have contiguous rows"):
        replace(arguments, out=arguments.out.T.contiguous().T)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Config]]:
    yield from configs_launched(launcher, "expand", monkeypatch)


def test_launcher_takes_what_the_server_would(
    make: Any, launched: list[Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(facts.CONFIG_FOLDER, raising=False)
    csgmv_expand(make())
    assert launched.pop() == {"BLOCK_N": 64, "BLOCK_K": 16}
    call = CsgmvExpand().call(CsgmvExpandProblem("float16", 16, 26, MAX_RANK, 2, slice_widths=(48, 16)))
    tuned = {"BLOCK_N": 32, "BLOCK_K": 16, "maxnreg": 96}
    serve_config(tmp_path, call, tuned, monkeypatch)
    csgmv_expand(make())
    assert launched == [tuned]


def test_flags() -> None:
    kernel = CsgmvExpand()
    problem = kernel.problem_from_flags(FLAGS)
    assert problem == CsgmvExpandProblem("float16", 16, 30720, 64, 2, slice_widths=(3072, 3072))
    assert problem.label == "t30720-n3072x3072-r64-s2-chunk16-prefill-float16"
    assert kernel.call(problem).dims == {"K": 6144, "R": 64, "S": 2, "chunk_size": 16}
    unequal = kernel.problem_from_flags(FLAGS | {"output_dim": 4096, "num_slices": 3, "slice_widths": "2048,1024,1024"})
    assert unequal == replace(problem, num_slices=3, slice_widths=QKV)
    assert kernel.problem_from_flags(FLAGS | {"output_dim": None, "num_slices": 3, "slice_widths": QKV}) == unequal


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output_dim": None}, "--output-dim: not given"),
        ({"output_dim": 6145}, "--output-dim: got 6145, allowed: a multiple of --num-slices 2"),
        ({"slice_widths": "3072,a"}, "--slice-widths: got '3072,a', allowed: integers"),
        ({"slice_widths": (3072, 1024)}, "--output-dim: got 6144, but --slice-widths add up to 4096"),
        ({"output_dim": None, "slice_widths": (3072,)}, "--slice-widths: got 3072, allowed: --num-slices 2 positive"),
        ({"output_dim": None, "slice_widths": (3072, 0)}, "2 positive widths"),
    ],
    ids=str,
)
def test_bad_flags(change: dict[str, Any], message: str) -> None:
    assert_refused_in_a_line(CsgmvExpand(), FLAGS | change, message)


def test_default_sets_nothing_but_blocks() -> None:
    kernel, problem = CsgmvExpand(), CsgmvExpandProblem("float16", 16, 30720, 64, 3, slice_widths=QKV)
    default = kernel.default_config(problem, H200)
    assert default == {"BLOCK_N": 64, "BLOCK_K": 16, "num_warps": None, "num_stages": None, "maxnreg": None}
    assert kernel.canonical(problem, {**default, "num_warps": 4, "num_stages": 3}, H200) == default


def test_stages_count_only_where_there_are_steps() -> None:
    kernel, problem = CsgmvExpand(), CsgmvExpandProblem("float16", 16, 30720, 64, 3, slice_widths=QKV)
    config = {"BLOCK_N": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 3, "maxnreg": None}
    assert kernel.canonical(problem, config, H200)["num_stages"] == 1
    assert kernel.canonical(problem, config | {"BLOCK_K": 32}, H200)["num_stages"] == 3
    # The default is the default, also where its one K step holds the whole rank.
    small = replace(problem, rank=16, adapter_ranks=())
    assert kernel.canonical(small, kernel.default_config(small, H200), H200)["num_stages"] is None


def test_register_caps_below_the_accumulator_are_not_tried() -> None:
    kernel, problem = CsgmvExpand(), CsgmvExpandProblem("float16", 128, 30720, 64, 3, slice_widths=QKV)
    config = {"BLOCK_N": 128, "BLOCK_K": 64, "num_warps": 8, "num_stages": 1}
    many_steps = config | {"BLOCK_K": 32}
    assert "accumulator needs 64" in str(kernel.infeasible(problem, many_steps | {"maxnreg": 64}, H200))
    assert kernel.infeasible(problem, many_steps | {"maxnreg": 96}, H200) is None
    assert kernel.infeasible(problem, config | {"maxnreg": 64}, H200) is None, "of 16 rows, not of 128"


@pytest.mark.parametrize("chunk_size", [16, 32, 64, 128])
def test_spaces_are_a_few_hundred_configs_with_the_default_first(chunk_size: int) -> None:
    problem = CsgmvExpandProblem("float16", chunk_size, 30720, 64, 3, slice_widths=QKV)
    wide, grid = (Space.build(CsgmvExpand(), problem, H200, name) for name in CsgmvExpand.spaces)
    assert wide.incumbent == grid.incumbent == CsgmvExpand().default_config(problem, H200)
    assert 100 < len(wide) < 450
    assert len(grid) == 120 + 1, "what runs without a file is no config of the grid"


def test_recording_is_of_the_very_problem() -> None:
    problem = CsgmvExpandProblem("float16", 128, 30720, 64, 3, slice_widths=QKV)
    assert CsgmvExpand().recording(problem) == "sglang_expand_K4096_R64_S3_chunk128"
    assert CsgmvExpand().recording(replace(problem, num_loras=2, active_loras=0, adapter_ranks=())) is None


def test_floor_is_the_issues() -> None:
    floor = CsgmvExpand().floor(CsgmvExpandProblem("float16", 16, 30720, 64, 3, slice_widths=QKV))
    assert floor.us(4.28e12) == pytest.approx(121, rel=0.01)


@given(
    chunk_size=st.sampled_from(facts.CHUNK_SIZES),
    rank=st.sampled_from((1, 8, 16, 24, 32, 64, 96, 128, 256)),
    widths=st.lists(st.integers(16, 20_000), min_size=1, max_size=3),
    is_decode=st.booleans(),
    alignment=st.sampled_from((1, 8)),
    are_checked=st.booleans(),
    tokens=st.integers(1, 256),
)
def test_what_runs_untuned_can_run(
    chunk_size: int, rank: int, widths: list[int], is_decode: bool, alignment: int, are_checked: bool, tokens: int
) -> None:
    batch = Segmentation(tokens, 256, chunk_size, slots=9)
    config = default_config(batch, Ranks(rank, alignment, are_checked), widths, is_decode)
    assert "maxnreg" not in config or (alignment == 8 and rank % 8 == 0 and not are_checked), "a cap that spills"
    call = Call(facts.NAME, "expand", {"K": sum(widths), "R": rank, "S": len(widths), "chunk_size": chunk_size})
    assert CsgmvExpand().cannot_run(call, config, min(SHARED_BYTES.values())) is None
    accumulators = (
        step_rows(config, rank, chunk_size) * integers(config)["BLOCK_N"] // (32 * integers(config)["num_warps"])
    )
    assert accumulators <= 64


@pytest.mark.parametrize(
    ("tokens", "rank", "widths", "expected"),
    [
        (16, 16, (4096,), (64, 2)),
        (16, 16, (12_288, 12_288), (128, 2)),
        (1, 16, (12_288, 12_288), (64, 2)),
        (64, 64, (14_336, 14_336), (128, 4)),
    ],
    ids=["few blocks", "many", "one request", "many of a high rank"],
)
def test_decode_batches_run_narrow_blocks_until_they_are_many(
    tokens: int, rank: int, widths: tuple[int, ...], expected: tuple[int, int]
) -> None:
    config = default_config(Segmentation(tokens, 256, 16, slots=9), Ranks(rank, 8, True), widths, is_decode=True)
    assert (config["BLOCK_N"], config["num_warps"]) == expected


@pytest.mark.parametrize(
    ("tokens", "segments", "blocks", "goes_on"),
    [
        (1, 256, 1, True),
        (16, 256, 9, True),
        (64, 256, 12, True),
        (512, 512, 40, True),
        (600, 600, 600, False),
        (64, 8, 8, False),
    ],
    ids=["one request", "more than adapters", "full ones", "a large graph", "a prompt's graph", "full"],
)
def test_blocks_for_segments_that_can_have_tokens(tokens: int, segments: int, blocks: int, goes_on: bool) -> None:
    found = Segmentation(tokens, segments, 16, slots=9)
    assert (found.blocks, found.goes_on) == (blocks, goes_on)


def test_a_walk_is_estimated_alike_in_chunks_of_any_size() -> None:
    """One launch of the same blocks; a rank of several steps makes a chunk at a time."""
    walked = {"BLOCK_N": 256, "BLOCK_K": 64, "num_warps": 4, "num_stages": 1, "maxnreg": 128}
    chunked = {**walked, "BLOCK_N": 64, "BLOCK_K": 32, "num_stages": 3}

    def estimates(config: Config) -> set[float]:
        problems = [CsgmvExpandProblem("float16", size, 30720, 64, 3, slice_widths=QKV) for size in facts.CHUNK_SIZES]
        return {CsgmvExpand().estimate_us(problem, config, H200) for problem in problems}

    assert len(estimates(walked)) == 1
    assert len(estimates(chunked)) == len(facts.CHUNK_SIZES)
