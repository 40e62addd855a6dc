"""The grids that tiles of rows are launched in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autotune.kernels.common.tiles import cdiv, row_grid

BLOCKS = st.sampled_from([16, 32, 64, 128, 256])


@given(st.lists(st.integers(0, 700), min_size=2, max_size=9), BLOCKS, st.integers(1, 500))
def test_every_mix_of_adapters_has_its_tiles(tokens: list[int], block_m: int, across: int) -> None:
    """The first group holds the tokens without an adapter."""
    base, *of_adapters = tokens
    m = base + sum(of_adapters)
    if m == 0:
        return
    grid = row_grid(m, len(tokens), len(of_adapters), block_m, across)
    needed = [cdiv(count, block_m) for count in of_adapters]
    assert grid.tiles >= (sum(needed) if grid.counted else max(needed))
    assert grid.groups == (1 if grid.counted else len(tokens))
    assert grid.blocks <= cdiv(m, block_m) * len(tokens)


def test_tiles_are_counted_where_most_would_find_no_work() -> None:
    assert row_grid(8192, 5, 4, 32, 48).counted
    assert row_grid(64, 5, 4, 16, 32).counted


def test_small_launches_count_nothing() -> None:
    assert not row_grid(16, 5, 4, 16, 384).counted
    assert not row_grid(64, 5, 4, 16, 16).counted
    assert not row_grid(8192, 1, 1, 32, 384).counted
