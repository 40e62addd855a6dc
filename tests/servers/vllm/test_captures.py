"""The token counts that vLLM captures."""

from __future__ import annotations

import pytest

from autotune.servers.batches import Batches
from autotune.servers.vllm.captures import capture_sizes, captured_by
from autotune.servers.vllm.sizes import sizes


def test_capture_sizes_are_the_servers() -> None:
    assert capture_sizes(256, 8192) == (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16))
    assert capture_sizes(20, 8192) == (1, 2, 4, 8, 16, 20, 24, 32, 40)
    assert capture_sizes(256, 30) == (1, 2, 4, 8, 16, 24)


@pytest.mark.parametrize(
    ("seqs", "tokens", "drafted", "expected"),
    [
        (3, 8192, 0, (1, 2, 3, 4)),
        (3, 8192, 3, (1, 2, 4, 8, 12, 16, 24)),
        (7, 100, 2, (1, 2, 3, 4, 6, 8, 12, 16, 21, 24, 32, 40)),
    ],
)
def test_drafted_tokens_are_captured_as_vllm_0_33_does(
    seqs: int, tokens: int, drafted: int, expected: tuple[int, ...]
) -> None:
    """The expected lists are what that release's own rule gave."""
    assert capture_sizes(seqs, tokens, 1 + drafted) == expected


def test_the_largest_decode_step_has_the_drafted_tokens_of_all_requests() -> None:
    batches = Batches(max_num_seqs=64, num_speculative_tokens=3)
    assert max(captured_by(batches)) == 512
    assert 64 * 4 in captured_by(batches)
    assert batches.most_sampled_rows == 256


def test_without_graphs_no_batch_is_padded() -> None:
    traffic = {5: 0.5, 100: 0.5}
    eager, padded = (
        sizes(Batches(traffic=traffic, enforce_eager=on, cudagraph_capture_sizes=() if on else (8, 128)))
        for on in (True, False)
    )
    assert {5, 100} <= set(eager.shares)
    assert not {5, 100} & set(padded.shares)
    assert {8, 128} <= {m for m, share in padded.shares.items() if share}
    assert max(sizes(Batches(enforce_eager=True)).shares) == 8192
