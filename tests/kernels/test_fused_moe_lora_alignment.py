"""The alignment against a pair-by-pair reference, and the random batches it is fed with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.kernels.fused_moe_lora.alignment import Alignment, align
from autotune.kernels.fused_moe_lora.padding import padded_width
from autotune.kernels.fused_moe_lora.problem import BLOCK_MS, MoeProblem
from autotune.kernels.fused_moe_lora.reference import align_reference
from autotune.kernels.fused_moe_lora.routing import RoutedWork, Routing, random_routing, work
from tests.builders.moe_layers import make_routing


@st.composite
def routings(draw: st.DrawFn) -> Routing:
    """Any mix of adapters (none, disabled, unused) and experts, few enough that some are empty and some are full.

    Some experts may be on other GPUs.
    """
    experts, loras, m = draw(st.integers(1, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 40))
    everywhere = experts + draw(st.integers(0, 6))
    top_k = draw(st.integers(1, everywhere))
    popular = draw(st.lists(st.integers(0, everywhere - 1), min_size=top_k, max_size=everywhere, unique=True))
    chosen = [draw(st.permutations(popular))[:top_k] for _ in range(m)]
    mapping = draw(st.lists(st.integers(-1, loras - 1), min_size=m, max_size=m))
    enabled = draw(st.lists(st.integers(0, 1), min_size=loras, max_size=loras))
    return make_routing(chosen, mapping, enabled, experts, "cpu")


def assert_same(got: Alignment, want: Alignment) -> None:
    assert got.block_m == want.block_m
    for name in ("sorted_ids", "expert_ids", "num_tokens_post_padded"):
        ours, reference = getattr(got, name), getattr(want, name)
        assert ours.dtype == torch.int32 and ours.is_contiguous()
        assert torch.equal(ours.cpu(), reference), name


@settings(max_examples=30)
@given(routing=routings(), block_m=st.sampled_from([4, *BLOCK_MS]))
def test_random_routings(device: str, routing: Routing, block_m: int) -> None:
    assert_same(align(routing.to(device), block_m), align_reference(routing, block_m))


@pytest.mark.parametrize(
    ("topk_ids", "mapping", "enabled"),
    [
        ([[3]] * 50, [0] * 50, [1]),
        ([[3]] * 50, [1] * 50, [1, 0]),
        ([[0, 3]] * 20, [-1] * 20, [1]),
        ([[2]], [0], [1, 1]),
        ([[3, 1, 2, 0]] * 33, [0, 1, -1] * 11, [1, 1, 1]),
    ],
    ids=["one expert", "disabled", "no adapter", "one token", "all experts"],
)
def test_extreme_routings(device: str, topk_ids: list[list[int]], mapping: list[int], enabled: list[int]) -> None:
    routing = make_routing(topk_ids, mapping, enabled, 4, device)
    for block_m in BLOCK_MS:
        assert_same(align(routing, block_m), align_reference(routing, block_m))


@given(pairs=st.integers(1, 10_000), experts=st.integers(1, 300), block_m=st.sampled_from(BLOCK_MS))
def test_any_routing_fits(pairs: int, experts: int, block_m: int) -> None:
    """The worst case: as many experts as can be have one row more than whole blocks."""
    width = padded_width(pairs, experts, block_m)
    hit = min(pairs, experts)
    blocks = hit + (pairs - hit) // block_m
    assert width % block_m == 0
    assert blocks * block_m <= width


def test_the_alignment_can_be_captured(device: str) -> None:
    if device == "cpu":
        pytest.skip("needs CUDA graphs")
    routing = make_routing([[0, 1], [2, 3], [1, 2]] * 5, [0, -1, 1] * 5, [1, 1], 4, device)
    align(routing, 16)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = align(routing, 16)
    routing.topk_ids.copy_(routing.topk_ids.flip(0))
    graph.replay()
    assert_same(captured, align_reference(routing.to("cpu"), 16))


PROBLEM = MoeProblem("float16", 400, 64, 16, 32, 2, num_experts=16, top_k=3, max_loras=4, active_loras=3)


def test_random_batches_are_like_a_servers() -> None:
    routing = random_routing(PROBLEM, 1)
    assert all(len(set(row)) == PROBLEM.top_k for row in routing.topk_ids.tolist())
    assert bool((routing.topk_weights > 0).all())
    torch.testing.assert_close(routing.topk_weights.sum(dim=1), torch.ones(PROBLEM.m))
    slots, tokens = torch.unique(routing.token_lora_mapping, return_counts=True)
    assert slots.numel() == 4 and int(tokens[slots == -1]) == PROBLEM.base_tokens
    assert int(tokens[slots >= 0].max()) > 2 * int(tokens[slots >= 0].min())
    assert not torch.equal(random_routing(PROBLEM, 2).topk_ids, routing.topk_ids)


def test_popular_experts_are_picked_more() -> None:
    def picks(problem: MoeProblem) -> list[int]:
        return torch.bincount(random_routing(problem, 0).topk_ids.flatten(), minlength=16).tolist()

    recorded = (0, 7, 0, *[1] * 13)
    assert max(picks(replace(PROBLEM, routing="zipf"))) > 1.5 * max(picks(PROBLEM))
    counted = picks(replace(PROBLEM, expert_counts=recorded))
    assert counted[0] == counted[2] == 0
    assert max(counted) == counted[1]


def test_only_groups_with_rows_are_hit() -> None:
    assert work(MoeProblem("float16", 1, 64, 16, 32, 2, num_experts=8, top_k=3, max_loras=4)) == RoutedWork(3, 3, 1)
    two = replace(PROBLEM, top_k=1, expert_counts=(5, 5, *[0] * 14))
    tokens = PROBLEM.m - PROBLEM.base_tokens
    assert work(two) == RoutedWork(2 * 3, tokens, tokens)


class TestExpertParallel:
    """Four GPUs of 4 experts each, instead of one of 16."""

    SPREAD = replace(PROBLEM, num_experts=4, ep=4)

    def test_a_gpu_has_its_share_of_the_pairs(self) -> None:
        alone, here = work(PROBLEM), work(self.SPREAD)
        assert random_routing(self.SPREAD, 0).pairs == PROBLEM.pairs
        assert 0.8 * alone.pairs / 4 < here.pairs < 1.2 * alone.pairs / 4
        assert here.groups == alone.groups // 4
        assert here.pairs / 3 < here.tokens < here.pairs
        assert self.SPREAD.local_pairs == PROBLEM.pairs // 4

    def test_pairs_of_other_gpus_are_left_out_of_the_alignment(self) -> None:
        routing = random_routing(self.SPREAD, 0)
        aligned = align(routing, 16)
        pairs = aligned.sorted_ids[aligned.sorted_ids < routing.pairs].tolist()
        local = [pair for pair, expert in enumerate(routing.topk_ids.flatten().tolist()) if expert < 4]
        adapters = routing.token_lora_mapping.tolist()
        assert sorted(pairs) == [pair for pair in local if adapters[pair // 3] >= 0]
        assert int(aligned.expert_ids.max()) == 3

    def test_of_a_recording_the_gpu_with_most_to_do(self) -> None:
        counts = (1, 1, 1, 1, *[1] * 4, 9, 0, 0, 9, *[1] * 4)
        problem = replace(self.SPREAD, expert_counts=counts)
        assert problem.first_expert == 8
        picks = torch.bincount(random_routing(problem, 0).topk_ids.flatten(), minlength=16).tolist()
        assert picks[1] == picks[2] == 0
        assert min(picks[0], picks[3]) > 2 * max(picks[4:])
