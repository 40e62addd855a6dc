"""Problems of both csgmv kernels: the batches that flags reach, and what one key stands for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from autotune.contract import AnyKernel
from autotune.errors import InputError
from autotune.kernels.common.csgmv import GRAPH_BATCH, split
from autotune.kernels.common.csgmv_execution import random_batch
from autotune.kernels.csgmv_expand.kernel import CsgmvExpand
from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink
from autotune.kernels.csgmv_shrink.problem import CsgmvShrinkProblem

SHRINK = CsgmvShrink()
FLAGS = {"hidden_size": 1024, "lora_rank": 64, "num_slices": 3}


def problem(**flags: Any) -> CsgmvShrinkProblem:
    return SHRINK.problem_from_flags(FLAGS | {"chunk_size": 16} | flags)


def test_a_mixed_problem_stands_for_prefill_and_decode_which_weigh_the_same() -> None:
    mixed = problem(workload="mixed")
    prefill, *decode = mixed.workloads()
    assert (prefill.name, prefill.weight) == ("prefill", 1.0)
    assert [batch.name for batch in decode] == ["decode of 8", "decode of 64", "decode of 256"]
    assert sum(batch.weight for batch in decode) == pytest.approx(1.0)
    problems: list[Any] = [workload.problem for workload in mixed.workloads()]
    assert [(p.workload, p.tokens) for p in problems] == [("prefill", 30720), *(("decode", n) for n in (8, 64, 256))]
    # Skewed: each of eight adapters has fewer tokens than the one before.
    shares = problems[0].tokens_by_slot[1:]
    assert len(shares) == 8
    assert sorted(shares, reverse=True) == list(shares)


def test_all_workloads_are_looked_up_by_the_key_of_the_whole() -> None:
    expand: dict[str, Any] = {"slice_widths": (2048, 1024, 1024)}
    kernels: list[tuple[AnyKernel, dict[str, Any]]] = [(SHRINK, {}), (CsgmvExpand(), expand)]
    for kernel, flags in kernels:
        mixed = kernel.problem_from_flags(FLAGS | flags | {"chunk_size": 32, "workload": "mixed"})
        assert {str(kernel.call(w.problem)) for w in kernel.workloads(mixed)} == {str(kernel.call(mixed))}


@pytest.mark.parametrize(("chunk", "requests"), [(16, (8, 64, 256)), (32, (64, 256)), (64, (256,)), (128, (256,))])
def test_decode_batches_that_never_have_the_chunk_size_are_dropped(chunk: int, requests: tuple[int, ...]) -> None:
    assert problem(workload="mixed", chunk_size=chunk).decode_requests == requests


def test_a_single_workload_is_itself() -> None:
    for name in ("prefill", "decode"):
        single = problem(workload=name, num_loras=3)
        (only,) = single.workloads()
        assert (only.name, only.problem) == (name, single)


@pytest.mark.parametrize("requests", [1, 2, 17, 256])
@pytest.mark.parametrize("shares", ["skewed", "equal"])
def test_decode_is_a_token_a_request_in_a_graphs_buffer(requests: int, shares: str) -> None:
    decode = problem(
        workload="decode",
        total_tokens=requests,
        num_loras=8,
        adapter_shares=shares,
        adapter_ranks=(*(64, 32, 16, 16), *(8,) * 4),
    )
    batch = random_batch(decode, "cpu", 0)
    assert batch.segments == GRAPH_BATCH
    assert batch.permutation.numel() == sum(decode.tokens_by_slot) == requests
    assert batch.seg_indptr.diff().max() <= 16


def test_equal_shares_differ_by_a_token_at_most() -> None:
    counts = problem(num_loras=5, adapter_shares="equal", total_tokens=1003).tokens_by_slot[1:]
    assert max(counts) - min(counts) <= 1
    assert problem(num_loras=5, adapter_shares="equal").label != problem(num_loras=5).label


@given(st.integers(0, 5000), st.lists(st.floats(0.01, 1), min_size=1, max_size=40))
def test_a_split_loses_no_token(total: int, weights: list[float]) -> None:
    counts = split(total, weights)
    assert sum(counts) == total
    assert min(counts) >= 0
    exact = [total * weight / sum(weights) for weight in weights]
    assert all(abs(count - share) <= 1.001 for count, share in zip(counts, exact, strict=True))


def test_labels_tell_workloads_apart_and_old_ones_are_as_they_were() -> None:
    found = [
        problem(),
        problem(num_loras=8),
        problem(workload="decode", num_loras=8),
        problem(workload="mixed"),
        problem(workload="mixed", decode_requests=(8,)),
    ]
    assert len({each.label for each in found}) == len(found)
    assert found[0].label == "t30720-k1024-r64-s3-chunk16-prefill-float16"
    assert found[3].label == "t30720-k1024-r64-s3-chunk16-l8-mixed-d8x64x256-float16"


def test_problems_survive_json_also_those_stored_before_there_were_workloads() -> None:
    mixed = problem(workload="mixed")
    assert CsgmvShrinkProblem.from_json(json.loads(json.dumps(mixed.to_json()))) == mixed
    stored = problem().to_json()
    del stored["decode_requests"], stored["shares"]
    assert CsgmvShrinkProblem.from_json(stored) == problem()


@pytest.mark.parametrize(
    ("flags", "chunks"),
    [
        ({}, [16, 32, 64, 128]),
        ({"chunk_sizes": (16, 128)}, [16, 128]),
        ({"max_lora_chunk_size": 16}, [16]),
        ({"max_lora_chunk_size": 128}, [16, 32, 128]),
        ({"chunk_size": 64}, [64]),
    ],
    ids=str,
)
def test_a_problem_for_each_chunk_size(flags: dict[str, Any], chunks: list[int]) -> None:
    found = SHRINK.problems_from_flags(FLAGS | flags)
    assert [each.chunk_size for each in found] == chunks
    assert {replace(each, chunk_size=16) for each in found} == {problem()}


@pytest.mark.parametrize(
    ("flags", "chunks"),
    [
        ({}, [16, 32]),
        ({"total_tokens": 1}, [16]),
        ({"total_tokens": 256}, [16, 32, 64, 128]),
        ({"chunk_sizes": (32, 128)}, [32]),
        ({"chunk_sizes": (128,), "total_tokens": 300}, [128]),
    ],
    ids=str,
)
def test_decode_is_tuned_at_chunk_sizes_that_so_many_requests_get(flags: dict[str, Any], chunks: list[int]) -> None:
    """Contracts B2: up to 32 from 64 tokens on, more than that from 256 on; 64 requests unless told."""
    found = SHRINK.problems_from_flags(FLAGS | {"workload": "decode"} | flags)
    assert [each.chunk_size for each in found] == chunks


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"chunk_sizes": (48,)}, "--chunk-sizes: got 48, allowed: 16, 32, 64, 128; pass one of these"),
        (
            {"chunk_sizes": (64, 128), "workload": "decode"},
            "--chunk-sizes: got 64, 128, but no server launches a decode batch of 64 requests with it; allowed: 16, 32",
        ),
        ({"max_lora_chunk_size": 48}, "--max-lora-chunk-size: got 48"),
        ({"max_lora_chunk_size": 16, "chunk_sizes": (16,)}, "give either it or --chunk-sizes"),
        ({"m": 16}, "--m-values: not a flag of SGLang's kernels; pass --total-tokens"),
        ({"batch_size": 16}, "--batch-size: not a flag"),
        ({"decode_requests": (8,)}, "--decode-requests: got 8 for --workload prefill, allowed: none"),
        ({"adapter_shares": "zipf"}, "--adapter-shares: got 'zipf', allowed: skewed, equal; pass one of these"),
        ({"workload": "chat"}, "--workload: got 'chat'"),
        ({"dtype": "float32"}, "--dtype: got 'float32'"),
        ({"total_tokens": 0}, "--total-tokens: got 0"),
        ({"num_active_loras": 2}, "--num-active-loras: got 2, allowed: 1 to the 1 of --num-loras; raise"),
        ({"adapter_ranks": (8, 8)}, "--adapter-ranks: got 8, 8, allowed: one for each of --num-loras 1"),
        ({"lora_rank": None}, r"--lora-rank: not given; pass .* \(--rank is the same\)"),
    ],
    ids=str,
)
def test_bad_flags(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        SHRINK.problems_from_flags(FLAGS | flags)
    assert "\n" not in str(error.value)


def test_a_mixed_problem_has_no_recording() -> None:
    assert SHRINK.recording(problem(workload="mixed", num_loras=1)) is None
