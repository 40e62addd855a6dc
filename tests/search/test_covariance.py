"""The covariance is the Matern 5/2 kernel, and its fit climbs the density of what was observed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from autotune.search.arrays import Floats
from autotune.search.covariance import Covariance

EXPECTED_LOGS = np.log([1.0, 4.0, 4.0, 4.0, 1e-2])


def problem(seed: int, count: int = 12) -> tuple[Floats, Floats]:
    """Returns points of three coordinates, of which the second does not matter, and observations of them."""
    draw = np.random.default_rng(seed)
    points = draw.uniform(0, 6, (count, 3))
    return points, np.sin(points[:, 0]) + 0.3 * points[:, 2] + 0.05 * draw.standard_normal(count)


def logs_of(covariance: Covariance) -> Floats:
    return np.log([covariance.variance, *covariance.scales, covariance.noise])


def log_density(logs: Floats, points: Floats, observed: Floats) -> float:
    """Computes by definition what a fit maximises, up to a constant."""
    variance, *scales, noise = np.exp(logs)
    distance = np.sqrt((((points[:, None] - points[None]) / scales) ** 2).sum(axis=-1))
    matern = variance * (1 + np.sqrt(5) * distance + 5 / 3 * distance**2) * np.exp(-np.sqrt(5) * distance)
    covariance = matern + (noise + 1e-8) * np.eye(len(points))
    prior = -0.5 * ((logs - EXPECTED_LOGS) ** 2).sum()
    return float(multivariate_normal(np.zeros(len(points)), covariance).logpdf(observed) + prior)


@given(st.integers(0, 1000), st.lists(st.floats(-1.5, 1.5), min_size=5, max_size=5))
def test_the_gradient_is_that_of_the_density(seed: int, off: list[float]) -> None:
    points, observed = problem(seed)
    logs = EXPECTED_LOGS + off
    value, gradient = Covariance._unlikeliness(logs, points, observed)
    constant = 0.5 * len(points) * np.log(2 * np.pi)
    assert -value - constant == pytest.approx(log_density(logs, points, observed), rel=1e-6)
    step = 1e-5
    for at, slope in enumerate(gradient):
        beside = [log_density(logs + sign * step * np.eye(5)[at], points, observed) for sign in (1, -1)]
        # A difference of two values of rounding error 1e-16 x condition (1e4) x size, over the step.
        assert -slope == pytest.approx((beside[0] - beside[1]) / (2 * step), rel=1e-4, abs=1e-4)


@given(st.integers(0, 1000))
def test_a_fit_is_likelier_than_what_was_expected_and_finds_what_matters(seed: int) -> None:
    points, observed = problem(seed, count=40)
    observed = (observed - observed.mean()) / observed.std()
    found = Covariance.expected(3).fitted(points, observed)
    assert log_density(logs_of(found), points, observed) > log_density(EXPECTED_LOGS, points, observed)
    assert found.scales[1] > found.scales[0], "the second coordinate does not matter"


def test_a_fit_begins_where_it_is_and_stays_within_bounds() -> None:
    points, observed = problem(0)
    first = Covariance.expected(3).fitted(points, observed)
    again = first.fitted(points, observed)
    assert log_density(logs_of(again), points, observed) >= log_density(logs_of(first), points, observed) - 1e-9
    flat = Covariance.expected(3).fitted(points, np.zeros(len(points)))
    assert 1e-2 <= flat.variance <= 1e2
    assert 1e-6 <= flat.noise <= 1e-1
    assert ((flat.scales >= 1e-1) & (flat.scales <= 1e3)).all()


def test_points_that_are_the_same_are_no_fault() -> None:
    points = np.ones((6, 3))
    found = Covariance.expected(3).fitted(points, np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]))
    assert np.isfinite(logs_of(found)).all()
