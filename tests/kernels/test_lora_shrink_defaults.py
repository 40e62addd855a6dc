"""What runs where nothing was tuned can run on any GPU, for any shape, and is the same between two powers of two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.contract import Config
from autotune.contract.gpu_names import SHARED_BYTES
from autotune.kernels.common.tiles import MAX_REGISTERS, Tile, integers, next_pow2
from autotune.kernels.lora_expand import defaults as expand
from autotune.kernels.lora_shrink import defaults as shrink

TOKENS = st.integers(1, 1 << 16)
RANKS = st.sampled_from([1, 8, 16, 32, 64, 128, 256, 320, 512])
SIZES = st.integers(16, 160_000)
SLICES = st.integers(1, 4)
ADAPTERS = st.integers(1, 64)


def check(config: Config, x_bytes: int, k: int) -> None:
    """Holds the lower bounds of `Tile` against the smallest GPU, with room for every stage that is in flight."""
    c = integers(config)
    assert all(value > 0 and (value & (value - 1) == 0 or name == "num_stages") for name, value in c.items())
    assert min(c["block_m"], c["block_n"], c["block_k"]) >= 16
    tile = Tile(c["block_m"], c["block_n"], c["block_k"], c["num_warps"], c["num_stages"], x_bytes, 2)
    assert tile.cannot_run(min(SHARED_BYTES.values())) is None
    assert tile.shared_bytes <= min(SHARED_BYTES.values())
    assert tile.accumulators <= MAX_REGISTERS // 2
    assert c["block_k"] <= max(16, next_pow2(k))


@given(m=TOKENS, k=SIZES, n=RANKS, slices=SLICES, adapters=ADAPTERS)
def test_shrink(m: int, k: int, n: int, slices: int, adapters: int) -> None:
    config = shrink.default_config(m, k, n, slices, groups=adapters + 1)
    check(config, 2, k)
    assert integers(config)["split_k"] <= max(1, next_pow2(-(-k // integers(config)["block_k"])))
    assert config == shrink.default_config(next_pow2(m), k, n, slices, groups=adapters + 1)


@pytest.mark.parametrize(
    ("m", "rank", "slices", "splits"),
    [
        (8192, 16, 3, 2),
        (4096, 16, 3, 4),
        (4096, 16, 1, 8),
        (2048, 16, 3, 4),
        (4096, 64, 3, 2),
        (8192, 64, 2, 2),
        (16_384, 16, 3, 1),
    ],
)
def test_a_shrink_is_split_as_what_was_fastest_is(m: int, rank: int, slices: int, splits: int) -> None:
    """With four adapters and 4096 columns; up to 8192 tokens as the fastest of their studies on an H200."""
    assert shrink.default_config(m, 4096, rank, slices, groups=5)["split_k"] == splits


@given(m=TOKENS, k=RANKS, n=SIZES, slices=SLICES)
def test_expand(m: int, k: int, n: int, slices: int) -> None:
    config = expand.default_config(m, k, n, slices)
    check(config, 4, k)
    assert config == expand.default_config(next_pow2(m), k, n, slices)
