"""How a vocabulary is shared out over GPUs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.model.layers import VOCAB_PADDING, head_columns


@pytest.mark.parametrize(
    ("vocab", "shards", "columns"),
    [
        (151936, 1, (151936,)),
        (151936, 4, (37984,) * 4),
        (32003, 1, (32003,)),
        (32003, 2, (16032, 15971)),
        # Padded to 64 it does not divide by 3: then it is padded to 192.
        (32000, 3, (10688, 10688, 10624)),
        (50257, 8, (6288,) * 7 + (6241,)),
    ],
)
def test_worked_examples(vocab: int, shards: int, columns: tuple[int, ...]) -> None:
    assert head_columns(vocab, shards) == columns


@given(vocab=st.integers(1, 300_000), shards=st.integers(1, 16))
def test_all_columns_are_on_some_gpu_and_none_but_the_last_has_fewer(vocab: int, shards: int) -> None:
    columns = head_columns(vocab, shards)
    assert sum(columns) == vocab
    assert len(set(columns[:-1])) <= 1
    assert columns[-1] <= columns[0]
    assert columns[0] * shards - vocab < VOCAB_PADDING * shards
