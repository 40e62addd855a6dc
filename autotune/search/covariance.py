"""Says how alike the values of two points are: a Gaussian process's covariance, and its fit to observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from autotune.search.arrays import Floats

_SCALE_DOUBLINGS: Final = 4.0
"""Length scale expected of a coordinate, in doublings. There are many, pairs included: most must matter little."""

_NOISE: Final = 1e-2
"""Noise variance expected, as a share of the variance of the log times; what no smooth model explains is noise, too."""

_VARIANCES, _SCALES, _NOISES = (1e-2, 1e2), (1e-1, 1e3), (1e-6, 1e-1)
"""What each may be; at its bound it is an answer, not a fault."""

_JITTER: Final = 1e-8
"""Added to the variance of every observation, so that no rounding makes a covariance indefinite."""

_STEPS: Final = 15
"""Most steps of a fit: a few from the last one are enough."""


@dataclass(frozen=True)
class Covariance:
    """Matern 5/2 with one length scale a coordinate (Rasmussen and Williams 2006, equation 4.17).

    Attributes:
        variance: Of a value.
        scales: ``[D]``: over how much of each coordinate values stay alike.
        noise: Variance of an observation's error.
    """

    variance: float
    scales: Floats
    noise: float

    @classmethod
    def expected(cls, columns: int) -> Self:
        """Returns what is expected before anything is observed."""
        return cls(1.0, np.full(columns, _SCALE_DOUBLINGS), _NOISE)

    def __call__(self, points: Floats, others: Floats) -> Floats:
        """Returns the covariance of the values of points ``[A, D]`` with those of others ``[B, D]``, ``[A, B]``."""
        return self._alike(_distance(points / self.scales, others / self.scales))

    def _alike(self, distance: Floats) -> Floats:
        alike: Floats = self.variance * (1 + distance + distance**2 / 3) * np.exp(-distance)
        return alike

    @property
    def _logs(self) -> Floats:
        """What a fit varies."""
        return np.log([self.variance, *self.scales, self.noise])

    @property
    def error(self) -> float:
        """What an observation's variance has beyond the value's."""
        return self.noise + _JITTER

    def fitted(self, points: Floats, observed: Floats) -> Self:
        """Returns the hyper-parameters that are likeliest after observations of points ``[n, D]``, from these on.

        What is expected of them counts as well (log-normal priors): few points must not fit extreme ones.
        """
        bounds = np.log([_VARIANCES, *[_SCALES] * len(self.scales), _NOISES])
        found = minimize(
            self._unlikeliness,
            self._logs,
            args=(points, observed),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": _STEPS},
        )
        return self._of(found.x)

    @classmethod
    def _of(cls, logs: Floats) -> Self:
        variance, *scales, noise = np.exp(logs)
        return cls(float(variance), np.array(scales), float(noise))

    @classmethod
    def _unlikeliness(cls, logs: Floats, points: Floats, observed: Floats) -> tuple[float, Floats]:
        """Returns minus the log density of hyper-parameters after the observations, and its gradient.

        No array has a dimension for both points and one for coordinates: the gradient of a scale is a sum of squared
        differences, weighted by pair, so products of matrices make all of them.
        """
        self = cls._of(logs)
        off = logs - cls.expected(len(self.scales))._logs
        scaled = points / self.scales
        distance = _distance(scaled, scaled)
        covariance = self._alike(distance)
        try:
            factor = cholesky(covariance + self.error * np.eye(len(points)), lower=True)
        except LinAlgError:
            return np.inf, np.zeros_like(logs)
        solved = cho_solve((factor, True), observed)
        inverse = cho_solve((factor, True), np.eye(len(points)))
        unlikely = 0.5 * observed @ solved + np.log(np.diag(factor)).sum() + 0.5 * off @ off

        weights = np.outer(solved, solved) - inverse
        by_pair = weights * self.variance * 5 / 3 * (1 + distance) * np.exp(-distance)
        by_scale = by_pair.sum(axis=1) @ scaled**2 - (scaled * (by_pair @ scaled)).sum(axis=0)
        likelier = [0.5 * (weights * covariance).sum(), *by_scale, 0.5 * self.noise * np.trace(weights)]
        return float(unlikely), off - np.array(likelier)


def _distance(scaled: Floats, others: Floats) -> Floats:
    """Returns the distances of points in length scales, times the root of 5 that the covariance takes of them."""
    distance: Floats = np.sqrt(5) * cdist(scaled, others)
    return distance
