"""What a study measures as our kernel's own default is what the plug-in launches where no file has an entry."""

from __future__ import annotations

import itertools

import pytest

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import Tile, integers
from autotune.kernels.csgmv_expand.drop_in import DROP_IN as EXPAND
from autotune.kernels.csgmv_shrink.defaults import default_config
from autotune.kernels.csgmv_shrink.drop_in import DROP_IN as SHRINK
from autotune.servers.sglang.plugin.drop_in import CsgmvCall

A100_BYTES, L4_BYTES = 166_912, 101_376
"""Of shared memory, that a block may ask for (contracts C1)."""


@pytest.mark.parametrize("workload", ["prefill", "decode"])
@pytest.mark.parametrize(
    ("chunk_size", "tokens", "rank", "slices"),
    [
        (16, 64, 16, 3),
        (16, 65, 16, 3),
        (16, 257, 16, 3),
        (16, 64, 64, 3),
        (16, 5000, 40, 3),
        *itertools.product((16, 32, 64, 128), (256, 5000), (16, 128), (1, 3)),
    ],
)
def test_chunked(chunk_size: int, tokens: int, rank: int, slices: int, workload: str) -> None:
    """Decode batches are launched in graphs, in which up to 256 tokens are taken for one."""
    sizes, captured = {"chunk_size": chunk_size, "total_tokens": tokens, "lora_rank": rank}, workload == "decode"
    flags = {"dtype": "bfloat16", **sizes, "num_loras": 2, "workload": workload}
    widths = (1024, 256, 256)[:slices]
    shrink, expand = registry.load("csgmv_shrink"), registry.load("csgmv_expand")
    problem = shrink.problem_from_flags({**flags, "num_slices": slices, "hidden_size": 1024})
    made = shrink.make_inputs(problem, "meta", 0).arguments
    launched = SHRINK.default_config(CsgmvCall(made.x, made.a, made.batch, slices, check_ranks=captured))
    assert shrink.own_default(problem, H200) == shrink.canonical(problem, launched, H200)
    problem = expand.problem_from_flags({**flags, "num_slices": slices, "slice_widths": widths})
    made = expand.make_inputs(problem, "meta", 0).arguments
    launched = EXPAND.default_config(CsgmvCall(made.x, made.b, made.batch, slices, widths, check_ranks=captured))
    assert expand.own_default(problem, H200) == expand.canonical(problem, {"maxnreg": None, **launched}, H200)


@pytest.mark.parametrize("chunk_size", [16, 32, 64, 128])
@pytest.mark.parametrize("is_decode", [False, True])
@pytest.mark.parametrize("k", [64, 1024, 4096, 28672])
@pytest.mark.parametrize("columns", [8, 48, 512])
@pytest.mark.parametrize("shared_bytes", [H200.shared_bytes, A100_BYTES, L4_BYTES], ids=["H200", "A100", "L4"])
def test_a_default_fits_in_shared_memory(
    chunk_size: int, is_decode: bool, k: int, columns: int, shared_bytes: int
) -> None:
    """A graph is captured as decode batches are, and one of 256 tokens has chunks of up to 128."""
    for tokens in (16, 1000, 30_720):
        batch = Segmentation(tokens, -(-tokens // chunk_size), chunk_size, slots=9)
        c = integers(default_config(batch, columns, k, is_decode, shared_bytes))
        rows = chunk_size * c["SEGMENTS"]
        tile = Tile(rows, c["BLOCK_N"], c["BLOCK_K"], c["num_warps"], c["num_stages"], 2, 2)
        assert tile.shared_bytes <= shared_bytes
        assert shared_bytes == L4_BYTES or c["num_stages"] == 3
