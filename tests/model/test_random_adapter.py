"""Adapters of random weights: quick to make, and no two matrices alike."""

from __future__ import annotations

import numpy as np

from autotune.model import random_adapter
from autotune.model.random_adapter import RandomValues


def test_matrices_are_normal_and_differ() -> None:
    values = RandomValues(0)
    first, second = (values.matrix(64, 4096) for _ in range(2))
    assert first.shape == (64, 4096)
    assert (first != second).mean() > 0.9
    assert np.isclose(first.std(dtype=np.float32), 0.012, rtol=0.02)
    assert (first[0] != first[1]).mean() > 0.9


def test_a_seed_makes_the_same_adapter_and_another_one_another() -> None:
    made = [RandomValues(seed).matrix(8, 32) for seed in (1, 1, 2)]
    assert (made[0] == made[1]).all()
    assert (made[0] != made[2]).any()


def test_a_matrix_of_more_values_than_are_drawn() -> None:
    rows = random_adapter._VALUES // 1024 + 5
    matrix = RandomValues(0).matrix(rows, 1024)
    assert matrix.shape == (rows, 1024)
    assert (matrix[0] != matrix[-2]).any()
