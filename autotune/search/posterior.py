"""Tells what a Gaussian process of fixed hyper-parameters expects at every point of a space, as it is told of more.

An observation more is a row more of the Cholesky factor, and takes something off each point's variance (Rasmussen and
Williams 2006, algorithm 2.1, row by row). To make all of it again would be most of what a choice costs in a space of
thousands of configs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from autotune.search.arrays import Floats, Indices
from autotune.search.covariance import Covariance

_LEAST_VARIANCE: Final = 1e-12


class Posterior:
    """The process after observations of some points.

    Args:
        points: One row a point, ``[N, D]``.
    """

    def __init__(self, covariance: Covariance, points: Floats) -> None:
        self._covariance = covariance
        self._points = points
        self._observed: Indices
        self._factor: Floats
        self._solved: Floats
        self._variance: Floats
        self._forget()

    def observe(self, observed: Indices) -> None:
        """Takes the positions of all points observed so far, in the order of their observation."""
        known = len(self._observed)
        if not np.array_equal(observed[:known], self._observed):
            self._forget()
            known = 0
        if not len(more := observed[known:]):
            return
        factor, rows = self._extended(more, slice(None))
        across = self._solved[:, more]
        self._factor = np.block([[self._factor, np.zeros_like(across)], [across.T, factor]])
        self._solved = np.vstack([self._solved, rows])
        self._variance = self._variance - np.square(rows).sum(axis=0)
        self._observed = observed.copy()

    def mean(self, values: Floats) -> Floats:
        """Returns what is expected at each point after these observed values."""
        expected: Floats = solve_triangular(self._factor, values, lower=True) @ self._solved
        return expected

    @property
    def std(self) -> Floats:
        """The doubt at each point, without an observation's error."""
        return _root(self._variance)

    def std_knowing(self, more: Sequence[int], at: Indices) -> Floats:
        """Returns the doubt at some points if others were observed, too."""
        _, rows = self._extended(np.array(more, dtype=np.intp), at)
        return _root(self._variance[at] - np.square(rows).sum(axis=0))

    def _extended(self, more: Indices, at: Indices | slice) -> tuple[Floats, Floats]:
        """Returns the rows of the Cholesky factor of more observations, the part on the diagonal, and what solving with
        them makes of the covariances with some points."""
        points, across = self._points[more], self._solved[:, more]
        noise = self._covariance.error * np.eye(len(more))
        factor: Floats = cholesky(self._covariance(points, points) + noise - across.T @ across, lower=True)
        left = self._covariance(points, self._points[at]) - across.T @ self._solved[:, at]
        rows: Floats = solve_triangular(factor, left, lower=True)
        return factor, rows

    def _forget(self) -> None:
        self._observed = np.zeros(0, dtype=np.intp)
        self._factor = np.zeros((0, 0))
        self._solved = np.zeros((0, len(self._points)))
        self._variance = np.full(len(self._points), self._covariance.variance)


def _root(variance: Floats) -> Floats:
    return np.sqrt(np.maximum(variance, _LEAST_VARIANCE))
