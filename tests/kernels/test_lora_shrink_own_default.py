"""What a study measures as our kernel's own default is what the plug-in launches where no file has an entry."""

from __future__ import annotations

import itertools

import pytest

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.kernels.lora_expand.drop_in import DROP_IN as EXPAND
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


@pytest.mark.parametrize("name", ["aligned_moe_lora_gate_up", "lora_linear"])
def test_the_incumbent_of_what_no_server_has_is_the_own_default_already(name: str) -> None:
    kernel = registry.load(name)
    flags = {"dtype": "bfloat16", "m": 16, "hidden_size": 1024, "lora_rank": 16, "num_loras": 2, "num_slices": 1}
    problem = kernel.problem_from_flags(
        {**flags, "moe_intermediate_size": 512, "num_experts": 8, "top_k_num": 2, "block_m": 16}
    )
    assert kernel.own_default(problem, H200) is None
