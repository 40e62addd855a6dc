"""Which chunk sizes are tuned, and how traffic weighs them."""

from __future__ import annotations

import pytest

from autotune.errors import InputError
from autotune.servers.batches import Batches
from autotune.servers.sglang.sizes import sizes


def test_those_that_occur_are_tuned_unless_others_are_asked_for() -> None:
    assert sizes(Batches()).shares == {16: 1.0}
    assert sizes(Batches(max_lora_chunk_size=128)).shares == {16: 1.0, 32: 1.0, 128: 1.0}
    found = sizes(Batches(max_lora_chunk_size=128, chunk_sizes=(64, 16)))
    assert found.shares == {16: 1.0, 64: 1.0}
    assert found.answered == (16, 32, 64, 128)


def test_traffic_only_weighs_what_was_asked_for() -> None:
    traffic = {16: 1.0, 512: 3.0}
    assert sizes(Batches(max_lora_chunk_size=128, chunk_sizes=(16,), traffic=traffic)).shares == {16: 0.25}
    assert sizes(Batches(chunk_sizes=(64,), traffic={512: 3.0})).shares == {64: 0.0}


def test_a_chunk_size_that_no_server_has() -> None:
    with pytest.raises(InputError, match="--chunk-sizes: got 48, allowed: 16, 32"):
        sizes(Batches(chunk_sizes=(48,)))
