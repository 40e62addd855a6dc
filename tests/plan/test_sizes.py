"""Which token counts are tuned, and how traffic weighs them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.errors import InputError
from autotune.model import shape as model
from autotune.plan import traffic
from autotune.plan.plan import Batches, Plan, make
from autotune.plan.sizes import auto_m_values, capture_sizes, own_keys, weigh
from autotune.servers.lookup import nearest
from autotune.servers.serving import Serving


def test_capture_sizes_are_the_servers() -> None:
    assert capture_sizes(256, 8192) == (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16))
    assert capture_sizes(20, 8192) == (1, 2, 4, 8, 16, 24, 32, 40)
    assert capture_sizes(256, 30) == (1, 2, 4, 8, 16, 24)


def test_auto_m_values_cover_decode_and_prefill() -> None:
    assert auto_m_values(256, 8192) == (1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
    assert auto_m_values(20, 3000) == (1, 4, 16, 32, 40, 64, 128, 256, 512, 1024, 2048, 3000)


@settings(deadline=None, database=None)
@given(st.integers(1, 2000), st.integers(1, 40_000))
def test_auto_m_values_hold_for_any_server(max_num_seqs: int, max_num_batched_tokens: int) -> None:
    values = auto_m_values(max_num_seqs, max_num_batched_tokens)
    assert list(values) == sorted(set(values))
    assert values[-1] == max_num_batched_tokens
    assert len(values) <= 24


def test_nearest_is_the_lower_of_two() -> None:
    assert nearest((32, 16), 24) == 16
    assert nearest((32, 16), 25) == 32


def test_traffic_picks_and_weighs() -> None:
    captured = capture_sizes(256, 8192)
    histogram = {15: 70.0, 40: 20.0, 3000: 9.0, 5000: 1.0}
    assert own_keys(histogram, captured) == {16, 40}
    weights = weigh((4096, 1, 16, 40, 64), histogram, captured)
    assert list(weights) == [1, 16, 40, 64, 4096]
    assert weights == pytest.approx({1: 0, 16: 0.7, 40: 0.2, 64: 0, 4096: 0.1})


def plan(server: str = "vllm", **batches: object) -> Plan:
    serving = Serving(server, 1, 16, 4)
    return make(model.load("Qwen3-8B"), serving, Batches(**batches))  # type: ignore[arg-type]


def test_traffic_orders_the_studies() -> None:
    entries = plan(traffic={64: 1.0, 1: 2.0, 4096: 1.5}).entries
    assert list(dict.fromkeys(entry.call.dims["m"] for entry in entries)) == [1, 4096, 64]


LADDER = auto_m_values(256, 8192)


def test_the_files_also_hold_the_m_that_traffic_leaves_untuned() -> None:
    for made in (plan(traffic={16: 1.0}), plan(m_values=(16,))):
        assert dict(made.sizes) == {16: 1.0}
        assert made.answered == LADDER
        assert {call.dims["m"] for call in made.required} == set(LADDER)
    assert plan(m_values=(100,)).answered == tuple(sorted({*LADDER, 100}))
    assert plan("sglang", max_lora_chunk_size=128, chunk_sizes=(16,)).answered == (16, 32, 128)


def test_the_experts_files_hold_them_too_where_they_are_tuned() -> None:
    # Eight experts each of up to 16 tokens are too few pairs to be sorted: nobody reads an entry there, but the
    # sorted batches near it would.
    for name, found in (("Qwen3-30B-A3B", {m for m in LADDER if m > 16}), ("GPT-OSS-20B", set())):
        made = make(model.load(name), Serving("vllm", 1, 16, 8), Batches(m_values=(64,)))
        assert {call.dims["m"] for call in made.required if "fused_moe" in call.op} == found


def test_traffic_only_weighs_what_was_asked_for() -> None:
    made = plan(m_values=(1, 16, 8192), traffic={16: 0.7, 512: 0.3})
    assert made.sizes == pytest.approx({1: 0.0, 16: 0.7, 8192: 0.0}), "m 512 has an entry of its own, a default"
    made = plan("sglang", max_lora_chunk_size=128, chunk_sizes=(16,), traffic={16: 1.0, 512: 3.0})
    assert made.sizes == {16: 0.25}
    assert plan("sglang", chunk_sizes=(64,), traffic={512: 3.0}).sizes == {64: 0.0}


def test_neighbours_follow_each_other_without_traffic() -> None:
    entries = plan(m_values=(1, 16, 64)).entries
    steps = [b.call.op == a.call.op and b.call.dims["m"] > a.call.dims["m"] for a, b in itertools.pairwise(entries)]
    assert steps.count(False) == len(plan().shapes) - 1


def test_lm_head_is_tuned_for_the_rows_that_are_sampled() -> None:
    found = [e.call.dims["m"] for e in plan(max_num_seqs=64).entries if e.layers == ("lm_head",)]
    assert max(found) == 64


def test_experts_are_not_tuned_where_they_are_not_sorted() -> None:
    made = make(model.load("Qwen3-30B-A3B"), Serving("vllm", 1, 16, 8), Batches(m_values=(1, 16, 32, 64)))
    assert [e.call.dims["m"] for e in made.entries if "moe" in e.kernel] == [32, 64]
    assert any("at m = 1, 16 (up to 16)" in line for line in made.warnings)
    assert {e.studies for e in made.entries if "moe" in e.kernel} == {2}


def test_high_ranks_take_all_four_kernels_of_the_experts() -> None:
    made = make(model.load("Qwen3-30B-A3B"), Serving("vllm", 1, 256, 8), Batches(m_values=(1, 16)))
    assert [(e.call.dims["m"], e.studies) for e in made.entries if "moe" in e.kernel] == [(1, 4), (16, 4)]


@pytest.mark.parametrize(
    ("max_chunk", "chunk_sizes", "tuned", "dead"),
    [(16, (), [16], False), (128, (), [16, 32, 128], False), (128, (64, 16), [16, 64], True)],
)
def test_chunk_sizes(max_chunk: int, chunk_sizes: tuple[int, ...], tuned: list[int], dead: bool) -> None:
    made = plan("sglang", max_lora_chunk_size=max_chunk, chunk_sizes=chunk_sizes)
    assert list(made.sizes) == tuned
    assert any("chunk size 64" in line for line in made.warnings) == dead


def test_advice_follows_from_the_flags() -> None:
    def advised(**how: object) -> str:
        given = {"server": "vllm", "tp": 1, "rank": 16, "max_loras": 4} | how
        return " ".join(make(model.load("Qwen3-8B"), Serving(**given), Batches()).advice)  # type: ignore[arg-type]

    assert "--enforce-eager" in advised()
    assert "--lora-target-modules" in advised()
    assert "--lora-target-modules" not in advised(target_modules=("o_proj",))
    assert "Rank 256" in advised(rank=256)
    assert "--max-loras 32" in advised(max_loras=32)
    assert "--max-lora-chunk-size" in advised(server="sglang")


@pytest.mark.parametrize(
    ("batches", "parts"),
    [
        ({"m_values": (16, 9000)}, ["--m-values", "9000", "--max-num-batched-tokens 8192"]),
        ({"traffic": {16: 1.0, 9000: 1.0}}, ["--traffic", "9000", "--max-num-batched-tokens 8192"]),
        ({"chunk_sizes": (48,), "server": "sglang"}, ["--chunk-sizes", "48", "16, 32"]),
    ],
)
def test_sizes_that_cannot_be(batches: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        plan(**batches)  # type: ignore[arg-type]
    assert not [part for part in parts if part not in str(caught.value)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", json.dumps({"16": 0.5, "512": 2})),
        ("t.json", json.dumps([[16, 0.5], [512, 1], [512, 1]])),
        ("t.csv", "tokens,weight\n16,0.5\n512,2\n"),
        ("t.csv", "16, 0.5\n\n512, 2\n"),
    ],
)
def test_traffic_files(name: str, text: str) -> None:
    Path(name).write_text(text)
    assert traffic.read(Path(name)) == {16: 0.5, 512: 2.0}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{}", "3"),
        *('{"16": "x"}', '{"0": 1}', '{"16": 0}', '{"16": -1, "8": 2}', '{"16": Infinity}', '{"16": NaN, "8": 1}'),
        *('{"16.7": 1}', "[[16.7, 1]]", "[[true, 1]]"),
    ],
)
def test_traffic_files_that_make_no_sense(text: str) -> None:
    Path("t.json").write_text(text)
    with pytest.raises(InputError, match=r"--traffic: .*t\.json"):
        traffic.read(Path("t.json"))
