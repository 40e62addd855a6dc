"""csgmv shrink with several segments a block: the same results, in batches that are worth it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from autotune.kernels.common.chunks import ChunkedBatch, Pool
from autotune.kernels.csgmv_shrink import csgmv_shrink, joining
from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments, shrink_launches
from autotune.kernels.csgmv_shrink.reference import reference
from tests.builders.csgmv_layers import whole

RANKS = (0, 16, 8, 5)
MAX_RANK = 16
K = 72
CONFIG = {"BLOCK_N": 16, "BLOCK_K": 32, "num_warps": 4, "num_stages": 2}
ONE = [1] * 150
TWO = [1] * 70 + [2] * 77
ALL = [3] * 20 + [0] * 50 + [1] * 33 + [2]
SHORT = [0] * 9 + [1] * 9 + [2] * 9 + [3] * 9


@pytest.fixture(autouse=True)
def _small_batches_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks need not be many for segments to be joined, as they are in large batches."""
    monkeypatch.setattr(joining, "_ENOUGH_BLOCKS", 1)


@pytest.fixture
def make(device: str) -> Callable[..., CsgmvShrinkArguments]:
    """Makes arguments of small whole numbers, whose sums are exact in whatever order, over an output of NaN."""

    def make(batch: ChunkedBatch, slices: int = 2, k: int = K) -> CsgmvShrinkArguments:
        tokens, slots = batch.permutation.numel(), batch.lora_ranks.numel()
        x, a = whole(tokens, k, seed=1).to(device), whole(slots, slices * MAX_RANK, k, seed=2).to(device)
        for slot, rank in enumerate(batch.lora_ranks.tolist()):
            a[slot, slices * rank :] = torch.nan
        out = torch.full((tokens, slices * MAX_RANK), torch.nan, dtype=x.dtype, device=device)
        return CsgmvShrinkArguments(x, a, out, batch, slices)

    return make


@pytest.fixture
def build(device: str) -> Callable[..., ChunkedBatch]:
    def build(slots: list[int], chunk_size: int = 16, segments: int = 0, ranks: tuple[int, ...] = RANKS) -> Any:
        order = torch.randperm(len(slots), generator=torch.Generator().manual_seed(0))
        pool = Pool(ranks, (1.0,) * len(ranks))
        return ChunkedBatch.build(torch.tensor(slots)[order], pool, chunk_size, device, segments)

    return build


def check(arguments: CsgmvShrinkArguments, segments: int, joined: int | None = None) -> None:
    """Runs with so many segments a block and with one: both write the reference's very bits, and nothing else."""
    poison = arguments.out.clone()
    expected = reference(arguments, poison, torch.float64).value.to(poison.dtype)
    for wanted in (segments, 1):
        arguments.out.copy_(poison)
        config = {**CONFIG, "SEGMENTS": wanted}
        (launch,) = shrink_launches(arguments, config)
        rows = arguments.batch.chunk_size * (wanted if joined is None or wanted == 1 else joined)
        assert launch.options["BLOCK_M"] == rows
        assert torch.equal(csgmv_shrink(arguments, config).nan_to_num(7.5), expected.nan_to_num(7.5)), wanted


@pytest.mark.parametrize(("chunk_size", "segments"), [(16, 2), (16, 4), (16, 8), (32, 2), (32, 4), (64, 2)])
@pytest.mark.parametrize("slots", [ONE, TWO, ALL], ids=["one adapter", "two", "all in two blocks"])
def test_blocks_of_several_segments(make: Any, build: Any, slots: list[int], chunk_size: int, segments: int) -> None:
    check(make(build(slots * (chunk_size // 32 or 1), chunk_size)), segments)


@pytest.mark.parametrize("slots", [SHORT, [0] * 20, [1], [2] * 17], ids=["an adapter a segment", "none", "one", "17"])
@pytest.mark.parametrize("slices", [1, 3])
def test_a_block_with_all_segments(make: Any, build: Any, slots: list[int], slices: int) -> None:
    check(make(build(slots), slices), 8, joined=8 if 2 * len(slots) >= 16 * build(slots).segments else 1)


@pytest.mark.parametrize("ranks", [(16, 16, 16, 16), (12, 0, 16, 8)], ids=str)
def test_other_pools(make: Any, build: Any, ranks: tuple[int, ...]) -> None:
    check(make(build(ALL, ranks=ranks)), 4)


@pytest.mark.parametrize("k", [32, 33, 128])
def test_steps_that_divide_a_row_or_do_not(make: Any, build: Any, k: int) -> None:
    check(make(build(TWO), k=k), 4)


@pytest.mark.parametrize("stale", [0, 1, 3])
@pytest.mark.parametrize("buffer", [10, 13, 18])
def test_a_buffer_that_is_larger_than_the_batch(make: Any, build: Any, buffer: int, stale: int) -> None:
    """Its tail holds indices of an earlier batch, and is no whole number of blocks."""
    batch = build(TWO, segments=buffer)
    batch.weight_indices[10:] = stale
    check(make(batch), 4)


@pytest.mark.parametrize("seed", range(8))
def test_segments_of_any_lengths(make: Any, device: str, seed: int) -> None:
    """Also empty ones between others, with indices of whatever adapter."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(-4, 17, (21,), generator=generator).clamp(min=0)
    owners = torch.randint(0, len(RANKS), (21,), generator=generator)
    lengths[:9], owners[:9] = 16, torch.tensor([1, 1, 1, 2, 2, 2, 2, 2, 0])
    batch = ChunkedBatch(
        permutation=torch.randperm(int(lengths.sum()), generator=generator).int().to(device),
        seg_indptr=torch.cat([torch.zeros(1, dtype=torch.int32), lengths.cumsum(0).int()]).int().to(device),
        weight_indices=owners.int().to(device),
        lora_ranks=torch.tensor(RANKS, dtype=torch.int32, device=device),
        scalings=torch.ones(len(RANKS), device=device),
        chunk_size=16,
        rank_alignment=1,
    )
    arguments = make(batch)
    alone = csgmv_shrink(arguments, {**CONFIG, "SEGMENTS": 1}).clone()
    assert not alone.isnan().all()
    for segments in (2, 4, 8):
        arguments.out.fill_(torch.nan)
        assert shrink_launches(arguments, {**CONFIG, "SEGMENTS": segments})[0].options["SEGMENTS"] == segments
        together = csgmv_shrink(arguments, {**CONFIG, "SEGMENTS": segments})
        assert torch.equal(together.nan_to_num(7.5), alone.nan_to_num(7.5))


def test_one_segment_is_the_kernel_without_the_parameter(make: Any, build: Any) -> None:
    arguments = make(build(ONE))
    missing, *others = (
        shrink_launches(arguments, {**CONFIG, **more}) for more in ({}, {"SEGMENTS": 1}, {"SEGMENTS": None})
    )
    assert others == [missing, missing]
    assert "SEGMENTS" not in missing[0].options
