"""Configs as points, and the configs around one."""

from __future__ import annotations

import math

import numpy as np

from autotune.contract.space import Space
from autotune.measure.recording import Recording
from autotune.search.coordinates import coordinates, variants, with_pairs


def test_coordinates_are_doublings_and_say_what_is_unset() -> None:
    grid = [{"block": b, "cap": c, "flag": f} for b in (16, 64) for c in (None, 64, 256) for f in (0, 1)]
    space = Space(grid, grid[0])
    rows = {tuple(c.values()): row for c, row in zip(space.configs, coordinates(space), strict=True)}
    np.testing.assert_allclose(rows[16, None, 0], [4, 7, 2, 0])
    np.testing.assert_allclose(rows[64, 256, 1], [6, 8, 0, 1])
    elsewhere = coordinates(space, [{"block": 128, "cap": 32, "flag": 1}])
    np.testing.assert_allclose(elsewhere[0], [7, 5, 0, 1])


def test_pairs_are_products_and_ratios() -> None:
    row = with_pairs(np.array([[4.0, 2.0]]))[0] * np.array([1, 1, math.sqrt(2), math.sqrt(2)])
    np.testing.assert_allclose(row, [4, 2, 6, 2])


def test_variants_differ_in_one_parameter(toy: Recording) -> None:
    near = np.flatnonzero(variants(toy.space, 0))
    assert len(near) == 3 + 3 + 3 + 2
    for index in near:
        differing = [n for n, v in toy.space.configs[index].items() if toy.space.incumbent[n] != v]
        assert len(differing) == 1
