"""csgmv shrink whose blocks share K: the rule, and that results are those of one block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.kernels.common.chunks import Pool
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.csgmv_shrink import csgmv_shrink, splitting
from autotune.kernels.csgmv_shrink.drop_in import DROP_IN
from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments, shrink_launches
from autotune.kernels.csgmv_shrink.splitting import parts_of_k
from autotune.kernels.csgmv_shrink.workspace import Arrivals, Workspace, most_tiles, no_arrivals
from autotune.servers.plugin import capture
from autotune.servers.sglang import facts
from autotune.servers.sglang.batch import CsgmvBatch
from autotune.servers.sglang.plugin.drop_in import CsgmvCall
from tests.builders.child import run_compiling
from tests.builders.csgmv_batches import SEGMENT_SIZES, SLOTS, in_segments
from tests.builders.csgmv_shrinks import assert_right, shrink_arguments
from tests.builders.dense_lora import half_dtypes

CONFIG = {"BLOCK_N": 16, "BLOCK_K": 32, "num_warps": 2, "num_stages": 2}


@pytest.fixture(autouse=True)
def _small_k_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "_UNSPLIT", 64)
    monkeypatch.setattr(splitting, "_LEAST_DEPTH", 32)


@pytest.fixture
def make(device: str) -> Callable[..., CsgmvShrinkArguments]:
    """Makes arguments whose workspace holds NaN where no block has left anything yet."""

    def make(**changed: Any) -> CsgmvShrinkArguments:
        made = shrink_arguments(device, **{"k": 256, **changed})
        arrivals = no_arrivals(most_tiles(made.batch.segments, made.out.shape[1]), device)
        workspace = Workspace.of(16 * made.out.numel(), arrivals)
        workspace.partials.fill_(torch.nan)
        return replace(made, workspace=workspace)

    return make


def check(arguments: CsgmvShrinkArguments, slots: list[int] = SLOTS) -> int:
    """Run, and compare; returns how many blocks share K."""
    (launch,) = shrink_launches(arguments, CONFIG)
    csgmv_shrink(arguments, CONFIG)
    assert_right(arguments, slots)
    assert arguments.workspace is not None
    assert not arguments.workspace.arrivals.any(), "the next launch counts from 0"
    return int(launch.options.get("PARTS", 1))


@pytest.mark.parametrize("k", [128, 256, 264, 392, 1000, 1024])
@pytest.mark.parametrize("slices", [1, 3])
def test_parts_add_up(make: Any, device: str, slices: int, k: int) -> None:
    """Also where the last parts have fewer steps, or none."""
    for dtype in half_dtypes(device):
        assert check(make(k=k, slices=slices, dtype=dtype)) > 1


@pytest.mark.parametrize("chunk_size", [16, 32, 64, 128])
def test_chunks_of_any_size(make: Any, chunk_size: int) -> None:
    assert check(make(chunk_size=chunk_size)) == 8


@pytest.mark.parametrize("sizes", SEGMENT_SIZES, ids=str)
def test_segments_of_any_size(make: Any, sizes: tuple[int, ...]) -> None:
    slots = [1] * sum(sizes)
    arguments = make(slots=slots)
    assert check(replace(arguments, batch=in_segments(arguments.batch, sizes)), slots) == 8


def test_a_graphs_buffer(make: Any) -> None:
    assert check(make(segments=60)) == 8


def test_runs_are_bitwise_equal_and_one_workspace_serves_them_all(make: Any) -> None:
    one, other = make(pool=Pool((16,) * 4, (1.0,) * 4)), make(k=1000, slices=3, chunk_size=32)
    one = replace(one, workspace=Workspace(other.workspace.partials, one.workspace.arrivals))
    other = replace(other, workspace=one.workspace)
    first = csgmv_shrink(one, CONFIG).clone()
    for _ in range(3):
        check(other)
        assert torch.equal(csgmv_shrink(one, CONFIG), first)


@pytest.mark.parametrize("lacking", ["workspace", "partials", "arrivals"])
def test_one_block_takes_all_of_k_where_there_is_no_room(make: Any, lacking: str) -> None:
    arguments = make()
    small = {
        "workspace": None,
        "partials": replace(arguments.workspace, partials=arguments.workspace.partials[: 26 * 32 * 7]),
        "arrivals": replace(arguments.workspace, arrivals=arguments.workspace.arrivals[:3]),
    }[lacking]
    arguments = replace(arguments, workspace=small)
    (launch,) = shrink_launches(arguments, CONFIG)
    assert "PARTS" not in launch.options
    csgmv_shrink(arguments, CONFIG)
    assert_right(arguments)


@given(
    tokens=st.integers(1, 256),
    chunk_size=st.sampled_from(facts.CHUNK_SIZES),
    slots=st.integers(1, 300),
    k=st.integers(16, 60_000),
    across=st.integers(1, 64),
)
def test_parts_are_alike_between_two_powers_of_two_of_tokens(
    tokens: int, chunk_size: int, slots: int, k: int, across: int
) -> None:
    parts = parts_of_k(Segmentation(tokens, 256, chunk_size, slots), k, across)
    rounded = 1 << (tokens - 1).bit_length()
    assert parts in (1, 2, 4, 8, 16)
    assert parts == parts_of_k(Segmentation(rounded, 512, chunk_size, slots), k, across)


@pytest.fixture
def call(make: Any) -> CsgmvCall:
    arguments = make(segments=60)
    return CsgmvCall(arguments.x, arguments.a, CsgmvBatch(**vars(arguments.batch)), arguments.num_slices)


def test_the_plug_in_has_blocks_of_decode_batches_share_k(call: CsgmvCall) -> None:
    workspace = DROP_IN.workspace(call)
    (launch,) = DROP_IN.launches(DROP_IN.arguments(call, DROP_IN.output(call), workspace), CONFIG)
    assert launch.options["PARTS"] == 8
    assert all(any(tensor is each for each in launch.args) for tensor in workspace)
    assert DROP_IN.workspace(call.on_meta(100, 100, 16, check_ranks=True))
    assert DROP_IN.workspace(call.on_meta(100, 100, 16, check_ranks=False)) == (), "a prompt's"


def test_graphs_have_counts_of_their_own_made_ahead_of_them(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a capture makes would be 0 in a replay alone."""
    arrivals, weights, others = Arrivals(), torch.empty(8, device=device), torch.empty(8, device=device)

    def captured(of: torch.Tensor, count: int) -> torch.Tensor | None:
        with monkeypatch.context() as patch:
            patch.setattr(capture, "is_on", lambda _: True)
            return arrivals.of(of, count)

    assert captured(weights, 10) is None
    eager = arrivals.of(weights, 10)
    graph = captured(weights, 10)
    assert eager is not None
    assert graph is not None
    assert eager is arrivals.of(weights, 10)
    assert graph is captured(weights, eager.numel())
    assert graph is not eager
    assert captured(others, 10) is None
    assert captured(weights, 5000) is None, "not as many by then"
    assert arrivals.of(weights, 5000) is not eager
    larger = captured(weights, 5000)
    assert larger is not None
    assert larger.numel() >= 5000
    assert any(graph is each for each in arrivals._outgrown), "a graph may count in it"


COMPILE = """
from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.measure import compiling

compiling._target_only_driver(H200)
kernel = registry.load("csgmv_shrink")
flags = {"dtype": "float16", "lora_rank": 16, "workload": "decode", "total_tokens": 16, "num_loras": 8}
problem = kernel.problem_from_flags({**flags, "chunk_size": 16, "hidden_size": 4096})
(launch,) = kernel.launches(kernel.make_inputs(problem, "meta", 0), kernel.own_default(problem, H200))
print(launch.options["PARTS"])
print(launch.warmup().asm["ptx"])
"""


def test_the_last_block_sees_what_the_others_have_stored() -> None:
    """All threads store, one counts for them with release and acquire, and all load past L1 then."""
    process = run_compiling(COMPILE)
    parts, _, ptx = process.stdout.partition("\n")
    assert parts == "8", process.stderr
    stored, counted = ptx.find("st.global"), ptx.find("atom.global.gpu.acq_rel")
    loaded = ptx.find("ld.global.cg", counted)
    assert 0 <= stored < counted < loaded
    assert "bar.sync" in ptx[ptx.rfind("st.global", 0, counted) : counted]
    assert "bar.sync" in ptx[counted:loaded]


def test_the_estimate_knows_that_blocks_share_k() -> None:
    kernel = registry.load("csgmv_shrink")
    flags = {"dtype": "float16", "lora_rank": 16, "workload": "decode", "total_tokens": 16, "num_loras": 8}
    config = {"BLOCK_N": 16, "BLOCK_K": 256, "num_warps": 2, "num_stages": 3, "SEGMENTS": 1}

    def estimate_us(k: int) -> float:
        problem = kernel.problem_from_flags({**flags, "hidden_size": k, "chunk_size": 16})
        found = kernel.estimate_us(problem, config, H200)
        assert found is not None
        return found

    assert estimate_us(16_384) < 2 * estimate_us(1024)
