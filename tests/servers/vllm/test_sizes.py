"""Which token counts are tuned, and how traffic weighs them."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from autotune.errors import InputError
from autotune.servers.batches import Batches
from autotune.servers.vllm import asked_captures, captures
from autotune.servers.vllm.captures import capture_sizes
from autotune.servers.vllm.sizes import auto_m_values, own_keys, sizes, weigh


def test_auto_m_values_cover_decode_and_prefill() -> None:
    assert auto_m_values(capture_sizes(256, 8192), 8192) == (1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
    assert auto_m_values(capture_sizes(20, 3000), 3000) == (1, 4, 16, 32, 40, 64, 128, 256, 512, 1024, 2048, 3000)


def test_the_sizes_follow_the_captures_that_are_given() -> None:
    found = sizes(Batches(cudagraph_capture_sizes=(3, 10, 20, 9000), max_num_batched_tokens=4096))
    assert list(found.shares) == [3, 10, 20, 32, 64, 128, 256, 512, 1024, 2048, 4096]
    assert sizes(Batches(max_cudagraph_capture_size=24)).automatic[:4] == (1, 4, 16, 24)
    with pytest.raises(InputError, match="--cudagraph-capture-sizes"):
        sizes(Batches(cudagraph_capture_sizes=(9000,)))


def test_an_installed_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "asked", lambda *flags: (1, 2, 48) if flags == (256, 8192, None, 0) else None)
    assert sizes(Batches()).automatic[:3] == (1, 48, 64)
    assert sizes(Batches(max_num_seqs=8)).automatic[:3] == (1, 4, 16)


def test_the_answer_of_a_server_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[list[str]] = []

    def run(arguments: list[str]) -> tuple[int, ...]:
        asked_for.append(arguments)
        return 1, 2, 48

    monkeypatch.setattr(asked_captures, "version", lambda: "0.33.0")
    monkeypatch.setattr(asked_captures, "_run", run)
    for _ in range(2):
        asked_captures.asked.cache_clear()
        assert asked_captures.asked(256, 8192, 64) == (1, 2, 48)
    assert asked_for == [["256", "8192", "64", "0"]]
    asked_captures.asked.cache_clear()


def test_what_is_raced_are_automatic_sizes_that_are_not_tuned_and_captured_ones_between() -> None:
    assert sizes(Batches()).raced == (2, 8, 24, 48, 88, 184, 368)
    few = sizes(Batches(m_values=(16, 256, 1024, 8192))).raced
    assert {1, 4, 32, 64, 128, 512, 2048, 4096} < set(few)
    assert not {16, 256, 1024, 8192} & set(few)
    assert sizes(Batches(m_values=(16, 256), traffic={24: 0.9, 5000: 0.1})).raced == ()


@given(st.integers(1, 2000), st.integers(1, 40_000))
def test_auto_m_values_hold_for_any_server(max_num_seqs: int, max_num_batched_tokens: int) -> None:
    values = auto_m_values(capture_sizes(max_num_seqs, max_num_batched_tokens), max_num_batched_tokens)
    assert list(values) == sorted(set(values))
    assert values[-1] == max_num_batched_tokens
    assert len(values) <= 24


def test_traffic_picks_and_weighs() -> None:
    captured = capture_sizes(256, 8192)
    histogram = {15: 70.0, 40: 20.0, 3000: 9.0, 5000: 1.0}
    assert own_keys(histogram, captured) == {16, 40}
    weights = weigh((4096, 1, 16, 40, 64), histogram, captured)
    assert list(weights) == [1, 16, 40, 64, 4096]
    assert weights == pytest.approx({1: 0, 16: 0.7, 40: 0.2, 64: 0, 4096: 0.1})


def test_traffic_only_weighs_what_was_asked_for() -> None:
    found = sizes(Batches(m_values=(1, 16, 8192), traffic={16: 0.7, 512: 0.3})).shares
    assert found == pytest.approx({1: 0.0, 16: 0.7, 8192: 0.0}), "m 512 has an entry of its own, a default"


@pytest.mark.parametrize(
    ("batches", "parts"),
    [
        (Batches(m_values=(16, 9000)), ["--m-values", "9000", "--max-num-batched-tokens 8192"]),
        (Batches(traffic={16: 1.0, 9000: 1.0}), ["--traffic", "9000", "--max-num-batched-tokens 8192"]),
        (Batches(max_num_seqs=9000), ["--max-num-seqs", "9000", "--max-num-batched-tokens 8192"]),
    ],
)
def test_sizes_that_cannot_be(batches: Batches, parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        sizes(batches)
    assert not [part for part in parts if part not in str(caught.value)]
