"""What is expected after observations is the same whether they came one by one, at once or in another order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.search.arrays import Floats, Indices
from autotune.search.covariance import Covariance
from autotune.search.posterior import Posterior

COUNT = 30
COVARIANCE = Covariance(1.3, np.array([2.0, 5.0]), 1e-2)
POINTS = np.random.default_rng(0).uniform(0, 8, (COUNT, 2))
VALUES = np.sin(POINTS).sum(axis=1)

# Rounding, 1e-16, grows by the condition of a covariance: at most the count times variance over noise, 4e3.
CLOSE = 1e-10


def by_definition(observed: Indices) -> tuple[Floats, Floats]:
    """Computes mean and doubt at every point from the whole matrix (Rasmussen and Williams 2006, 2.25 and 2.26)."""
    noisy = COVARIANCE(POINTS[observed], POINTS[observed]) + COVARIANCE.error * np.eye(len(observed))
    across = COVARIANCE(POINTS, POINTS[observed])
    mean = across @ np.linalg.solve(noisy, VALUES[observed])
    variance = COVARIANCE.variance - (across * np.linalg.solve(noisy, across.T).T).sum(axis=1)
    return mean, np.sqrt(variance)


orders = st.permutations(range(COUNT)).map(lambda order: np.array(order, dtype=np.intp))


@given(orders, st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_observations_come_in_parts(order: Indices, parts: list[int]) -> None:
    posterior, until = Posterior(COVARIANCE, POINTS), 0
    for part in parts:
        until += part
        posterior.observe(order[:until])
        mean, std = by_definition(order[:until])
        assert posterior.mean(VALUES[order[:until]]) == pytest.approx(mean, abs=CLOSE)
        assert posterior.std == pytest.approx(std, abs=CLOSE)


@given(orders, orders)
def test_another_order_begins_anew(first: Indices, second: Indices) -> None:
    posterior = Posterior(COVARIANCE, POINTS)
    posterior.observe(first[:9])
    posterior.observe(second[:7])
    mean, std = by_definition(second[:7])
    assert posterior.mean(VALUES[second[:7]]) == pytest.approx(mean, abs=CLOSE)
    assert posterior.std == pytest.approx(std, abs=CLOSE)


@given(orders)
def test_what_more_would_tell_is_told_without_being_observed(order: Indices) -> None:
    posterior = Posterior(COVARIANCE, POINTS)
    posterior.observe(order[:6])
    at = order[3:20]
    assert posterior.std_knowing(order[6:9].tolist(), at) == pytest.approx(by_definition(order[:9])[1][at], abs=CLOSE)
    assert posterior.std == pytest.approx(by_definition(order[:6])[1], abs=CLOSE)


def test_nothing_observed_leaves_what_is_expected_of_all() -> None:
    posterior = Posterior(COVARIANCE, POINTS)
    posterior.observe(np.zeros(0, dtype=np.intp))
    assert posterior.std == pytest.approx(np.full(COUNT, np.sqrt(COVARIANCE.variance)))
