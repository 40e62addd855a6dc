"""Our experts' kernel in the server's place: what it takes of a call, looks up, and compiles before requests come."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autotune.contract import Call, Launch
from autotune.contract.gpu import H200
from autotune.kernels.aligned_moe_lora.drop_in import DROP_IN
from autotune.kernels.aligned_moe_lora.kernel import AlignedDown, AlignedGateUp
from autotune.kernels.fused_moe_lora.problem import BLOCK_MS
from autotune.servers.plugin import warm_up
from autotune.servers.vllm.plugin.moe_call import MoeCall, MoeRows

EXPERTS, TOP_K, HIDDEN, LORAS = 16, 4, 512, 3


def call(rank: int = 32, slices: int = 2, columns: int = 768) -> MoeCall:
    """Returns a call without memory, of one naive token."""

    def half(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.bfloat16, device="meta")

    def integers(size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.int32, device="meta")

    return MoeCall(
        out=half(1, TOP_K, slices * columns),
        x=half(1, HIDDEN),
        a=[half(LORAS, EXPERTS, rank, HIDDEN) for _ in range(slices)],
        b=[half(LORAS, EXPERTS, columns, rank) for _ in range(slices)],
        topk_weights=torch.empty(1, TOP_K, device="meta"),
        rows=MoeRows(None, integers(TOP_K), None, 64),
        mapping=integers(1),
        lora_ids=integers(LORAS + 1),
        enabled=integers(LORAS + 1),
        groups=LORAS + 1,
        rank=rank,
        routed=False,
        fully_sharded=False,
        offset=0,
        add_inputs=True,
    )


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without memory are on no GPU, where calls are otherwise the server's."""
    monkeypatch.setattr("triton.knobs.runtime.interpret", True)


def launch_of(found: MoeCall) -> Launch:
    arguments = DROP_IN.arguments(found, DROP_IN.table(found))
    (launch,) = DROP_IN.launches(arguments, DROP_IN.default_config(arguments))
    return launch


def key(launch: Launch) -> Hashable:
    """Tells what the compiler makes of a launch; sizes of the batch are values to it."""
    return tuple(sorted(launch.options.items()))


AHEAD = {key(launch_of(each)) for m in warm_up.TOKEN_COUNTS for each in DROP_IN.to_compile(call(), m)}


@given(m=st.integers(1, 65_536), block_m=st.sampled_from((None, *BLOCK_MS)))
def test_whatever_comes_was_compiled_ahead(m: int, block_m: int | None) -> None:
    few = m * TOP_K * 8 <= EXPERTS * LORAS
    found = call().on_meta(m, None if few else block_m or 16)
    assert DROP_IN.leaves(found) or key(launch_of(found)) in AHEAD


def test_few_kernels_are_compiled() -> None:
    assert len(AHEAD) <= 2 * (len(BLOCK_MS) + 1)


def test_limits() -> None:
    good = call().on_meta(64, 32)
    assert DROP_IN.outside(good) == DROP_IN.outside_of_weights(good) == ""
    sorted_ids, expert_ids, ends = good.rows.sorted_ids, good.rows.expert_ids, good.rows.post_padded
    changes: dict[str, dict[str, Any]] = {
        "fully sharded": {"fully_sharded": True},
        "the rank is 256": {"rank": 256},
        "x is torch.float16": {"x": good.x.half()},
        "not contiguous": {"out": torch.empty(4, 64, 1536, dtype=torch.bfloat16, device="meta").transpose(0, 1)},
        "weights and x do not fit": {"x": good.x[:-1]},
        "the output does not fit": {"out": good.out[..., :-2].contiguous()},
        "routing weights are torch.bfloat16": {"topk_weights": good.topk_weights.bfloat16()},
        "the metadata do not fit": {"mapping": good.mapping[:-1]},
        "aligned to 256 rows": {"rows": MoeRows(sorted_ids, expert_ids, ends, 256)},
        "the rows do not fit": {"rows": MoeRows(sorted_ids, expert_ids, ends, 64)},
    }
    for said, change in changes.items():
        assert said in DROP_IN.outside(replace(good, **change))
    of_weights: dict[str, dict[str, Any]] = {
        "A and B do not fit": {"rank": 16},
        "weights are torch.float32": {"a": [each.float() for each in good.a]},
        "weights differ": {"b": [good.b[0], good.b[1][..., :-1].contiguous()]},
        "their matrices are not whole": {"a": [each.transpose(2, 3) for each in good.a]},
    }
    for said, change in of_weights.items():
        assert said in DROP_IN.outside_of_weights(replace(good, **change))


def test_small_batches_are_the_servers() -> None:
    assert DROP_IN.leaves(call(rank=16))
    assert not DROP_IN.leaves(call(rank=128))
    assert not DROP_IN.leaves(call(rank=16).on_meta(1, 16))


def test_nothing_to_do() -> None:
    assert call().on_meta(0, 16).idle
    assert replace(call().on_meta(1, 16), groups=0).idle
    assert not replace(call(), groups=0).idle


CONFIG = {"block_m": 64, "block_n": 64, "block_k": 256, "column_blocks": 2, "num_warps": 4, "num_stages": 3}


def test_each_side_looks_up_its_own_sizes_and_naive_pairs_nothing() -> None:
    assert DROP_IN.lookup(DROP_IN.arguments(call(), None)) is None
    w13 = DROP_IN.lookup(DROP_IN.arguments(call().on_meta(64, 32), None))
    dims = {"max_loras": LORAS, "num_slices": 2, "m": 64, "k": 32, "n": HIDDEN, "i": 768}
    assert w13 == Call("vllm", "aligned_moe_lora_w13", dims)
    down = replace(call(slices=1, columns=2048), routed=True).on_meta(64, 32)
    w2 = DROP_IN.lookup(DROP_IN.arguments(down, None))
    assert w2 == Call("vllm", "aligned_moe_lora_w2", {**dims, "num_slices": 1, "n": 2048, "i": HIDDEN})


@pytest.mark.parametrize("kernel", [AlignedGateUp(), AlignedDown()], ids=lambda kernel: kernel.name)
def test_a_study_of_the_same_sizes_has_the_lookup_of_the_call(kernel: AlignedGateUp | AlignedDown) -> None:
    routed = kernel.op == "aligned_moe_lora_w2"
    sizes = {"hidden_size": 1024 if routed else HIDDEN, "moe_intermediate_size": HIDDEN if routed else 1024}
    experts = {"num_experts": EXPERTS, "top_k_num": TOP_K, "num_loras": LORAS, "lora_rank": 32}
    problem = kernel.problem_from_flags({"dtype": "bfloat16", "m": 64, "block_m": 32, **sizes, **experts})
    found = replace(call(slices=1 if routed else 2, columns=1024), routed=routed).on_meta(64, 32)
    arguments = DROP_IN.arguments(found, None)
    assert DROP_IN.lookup(arguments) == kernel.call(problem)
    assert DROP_IN.default_config(arguments) == kernel.default_config(problem, H200)


@given(block_m=st.sampled_from(BLOCK_MS), timed_with=st.sampled_from(BLOCK_MS))
def test_an_entry_is_launched_only_with_the_block_m_that_it_was_timed_with(block_m: int, timed_with: int) -> None:
    arguments = DROP_IN.arguments(call().on_meta(64, block_m), None)
    config = {**CONFIG, "block_m": timed_with}
    assert DROP_IN.fitted(arguments, config) == (config if block_m == timed_with else None)


@given(m=st.integers(1, 65_536), block_m=st.sampled_from(BLOCK_MS))
def test_without_an_entry_tall_blocks_that_are_full_are_the_servers(m: int, block_m: int) -> None:
    arguments = DROP_IN.arguments(call().on_meta(m, block_m), None)
    full = m * TOP_K / EXPERTS > 128
    assert bool(DROP_IN.without_entry(arguments)) == (block_m == 128 and full)


def test_without_an_entry_pairs_that_are_not_sorted_run_the_default() -> None:
    assert DROP_IN.without_entry(DROP_IN.arguments(call(rank=128), None)) == ""


@pytest.mark.parametrize("block_m", BLOCK_MS)
@pytest.mark.parametrize("m", [16, 100, 4096])
@pytest.mark.parametrize("kernel", [AlignedGateUp(), AlignedDown()], ids=lambda kernel: kernel.name)
def test_a_study_launches_what_the_plug_in_launches(kernel: AlignedGateUp | AlignedDown, m: int, block_m: int) -> None:
    """Blocks of rows as the server counts them: nobody knows how many of them have pairs."""
    sizes = {"hidden_size": HIDDEN, "moe_intermediate_size": 200, "num_experts": EXPERTS, "top_k_num": TOP_K}
    flags = {"dtype": "bfloat16", "m": m, "block_m": block_m, "num_loras": LORAS, "lora_rank": 32, **sizes}
    problem = kernel.problem_from_flags(flags)
    inputs = kernel.make_inputs(problem, "meta", 0)
    made = inputs.arguments
    tensors = {name: getattr(made, name) for name in ("out", "x", "a", "b", "routed", "add_inputs")}
    served = replace(call().on_meta(m, block_m), **tensors)
    assert DROP_IN.outside(served) == DROP_IN.outside_of_weights(served) == ""
    arguments = DROP_IN.arguments(served, made.tables)
    for config in (kernel.default_config(problem, H200), {**CONFIG, "block_m": block_m}):
        studied, launched = kernel.launches(inputs, config), DROP_IN.launches(arguments, config)
        assert [(each.fn, each.grid, each.options) for each in studied] == [
            (each.fn, each.grid, each.options) for each in launched
        ]
