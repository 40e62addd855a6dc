from __future__ import annotations

import pytest

from autotune.errors import InputError
from autotune.servers.sglang import chunks


@pytest.mark.parametrize(
    ("max_chunk", "sizes"), [(16, (16,)), (32, (16, 32)), (64, (16, 32, 64)), (128, (16, 32, 128))]
)
def test_reachable_chunk_sizes(max_chunk: int, sizes: tuple[int, ...]) -> None:
    assert chunks.reachable(max_chunk) == sizes


@pytest.mark.parametrize(("tokens", "at_16", "at_64", "at_128"), [(1, *[16] * 3), (64, 16, 32, 32), (256, 16, 64, 128)])
def test_chunk_size_of_a_batch(tokens: int, at_16: int, at_64: int, at_128: int) -> None:
    assert [chunks.chunk_size(tokens, flag) for flag in (16, 64, 128)] == [at_16, at_64, at_128]
    assert chunks.chunk_size(tokens) == at_16


def test_bounds_of_the_token_counts() -> None:
    assert [chunks.chunk_size(tokens, 128) for tokens in (63, 64, 255, 256)] == [16, 32, 32, 128]


def test_other_values_of_the_flag_are_refused() -> None:
    with pytest.raises(InputError, match="--max-lora-chunk-size: got 48, allowed: 16, 32, 64, 128"):
        chunks.reachable(48)


def test_advice_says_what_is_read_and_what_is_worth_more() -> None:
    *lines, last = chunks.advice([128, 16, 64])
    assert [line.rpartition("reads ")[2] for line in lines] == ["16.", "16, 64.", "16, 128."]
    assert "default" in lines[0]
    assert "+21%" in last
    assert "+12.6%" in last
    assert chunks.advice([64])[0].endswith("reads none.")
