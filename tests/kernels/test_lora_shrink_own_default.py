"""What a study measures as our kernel's own default is what the plug-in launches where no file has an entry."""

from __future__ import annotations

import itertools

import pytest
import torch

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.kernels.lora_expand.drop_in import DROP_IN as EXPAND
from autotune.kernels.lora_linear import drop_in as PAIR
from autotune.kernels.lora_linear.drop_in import LinearCall
from autotune.kernels.lora_shrink.drop_in import DROP_IN as SHRINK


@pytest.mark.parametrize(("m", "rank", "slices"), list(itertools.product((1, 33, 1000), (16, 128), (1, 3))))
def test_dense(m: int, rank: int, slices: int) -> None:
    flags = {"dtype": "bfloat16", "m": m, "hidden_size": 1024, "lora_rank": rank, "num_loras": 3, "num_slices": slices}
    shrink, expand = registry.load("lora_shrink"), registry.load("lora_expand")
    problem = shrink.problem_from_flags(flags)
    launched = SHRINK.default_config(shrink.make_inputs(problem, "meta", 0))
    assert shrink.own_default(problem, H200) == shrink.canonical(problem, launched, H200)
    problem = expand.problem_from_flags({**flags, "slice_widths": (1024, 256, 256)[:slices]})
    launched = EXPAND.default_config(expand.make_inputs(problem, "meta", 0).arguments)
    assert expand.own_default(problem, H200) == expand.canonical(problem, launched, H200)


@pytest.mark.parametrize(("m", "rank", "apart"), [(1, 16, False), (64, 16, False), (65, 16, True), (16, 64, True)])
def test_pair(m: int, rank: int, apart: bool) -> None:
    pair = registry.load("lora_linear")
    flags = {"dtype": "bfloat16", "m": m, "hidden_size": 1024, "lora_rank": rank, "num_loras": 3, "num_slices": 1}
    inputs = pair.make_inputs(pair.problem_from_flags({**flags, "slice_widths": (2048,)}), "meta", 0).arguments
    meta, shrink, expand = inputs.shrink.metadata, inputs.shrink, inputs.expand
    metadata = [meta.token_lora_mapping, meta.token_indices_sorted_by_lora_ids, meta.num_tokens_per_lora]
    metadata += [meta.lora_token_start_loc, meta.lora_ids, torch.tensor([False]), torch.tensor([4])]
    call = LinearCall.of(expand.out, shrink.x, shrink.a, expand.b, metadata, (1.0, True))
    launched = PAIR.default_config(PAIR.lookup(call))
    assert (launched is None) == apart
    assert pair.own_default(pair.problem_from_flags({**flags, "slice_widths": (2048,)}), H200) == launched


def test_the_incumbent_of_experts_that_no_server_has_is_the_own_default_already() -> None:
    kernel = registry.load("aligned_moe_lora_gate_up")
    flags = {"dtype": "bfloat16", "m": 16, "hidden_size": 1024, "lora_rank": 16, "num_loras": 2, "num_slices": 1}
    problem = kernel.problem_from_flags(
        {**flags, "moe_intermediate_size": 512, "num_experts": 8, "top_k_num": 2, "block_m": 16}
    )
    assert kernel.own_default(problem, H200) is None
