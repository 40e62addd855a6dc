"""What a plan for SGLang warns of."""

from __future__ import annotations

import pytest

from autotune.model.shape import load
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving


@pytest.mark.parametrize(
    ("rank", "chunk_sizes", "layers"),
    [(32, (16,), "qkv_proj x36, o_proj x36, gate_up_proj x36, down_proj x36"), (64, (16,), None), (32, (128,), None)],
)
def test_where_any_tuned_blocks_cost_the_split_k_path(
    rank: int, chunk_sizes: tuple[int, ...], layers: str | None
) -> None:
    """Contracts B3; the shrinks of Qwen3-8B have 4096 and 12288 columns."""
    plan = make(load("Qwen3-8B"), Serving("sglang", 1, rank, 4), Batches(chunk_sizes=chunk_sizes))
    lines = [line for line in plan.warnings if "SGLANG_ENABLE_LORA_CSGMV_SPLIT_K" in line]
    assert [line.partition(":")[0] for line in lines] == ([layers] if layers else [])


@pytest.mark.parametrize(
    ("max_chunk", "chunk_sizes", "tuned", "dead"),
    [(16, (), [16], False), (128, (), [16, 32, 128], False), (128, (64, 16), [16, 64], True)],
)
def test_chunk_sizes_that_never_occur(
    max_chunk: int, chunk_sizes: tuple[int, ...], tuned: list[int], dead: bool
) -> None:
    batches = Batches(max_lora_chunk_size=max_chunk, chunk_sizes=chunk_sizes)
    made = make(load("Qwen3-8B"), Serving("sglang", 1, 16, 4), batches)
    assert list(made.sizes) == tuned
    assert any("chunk size 64" in line for line in made.warnings) == dead


@pytest.mark.parametrize(
    ("workload", "part"),
    [
        (None, "own kernels are timed on prompts and decode batches together"),
        ("prefill", "--workload prefill: the server's own kernels launch decode batches with the same entries"),
        ("decode", "--workload decode: the server's own kernels launch prefill batches with the same entries"),
        ("mixed", None),
    ],
)
def test_which_batches_are_timed_is_told_where_it_is_not_what_a_server_launches(
    workload: str | None, part: str | None
) -> None:
    made = make(load("Qwen3-8B"), Serving("sglang", 1, 16, 4), Batches(workload=workload))
    lines = [line for line in made.warnings if "timed on" in line or "--workload" in line]
    assert len(lines) == (part is not None)
    assert all(str(part) in line for line in lines)
