"""The model of a space: a Gaussian process over log times, fitted to what has been measured (`docs/search.md`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import ndtr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

Floats = npt.NDArray[np.float64]

_CEILING = 1.5
"""Log times are cut this far above the best (4.5x): how slow a hopeless config is must not bend the model elsewhere."""

_SCALE_DOUBLINGS = 2.0
"""Length scale expected of a parameter: a couple of doublings change the time noticeably."""

_NOISE = 1e-3
"""Noise variance expected, as a share of the variance of the log times."""


@dataclass(frozen=True)
class Belief:
    """What the model expects of every config, in log microseconds."""

    mean: Floats
    std: Floats
    best: float

    @property
    def expected_gain(self) -> Floats:
        """Expected improvement on the best log time, about the share of time saved (Jones et al. 1998, eq. 15)."""
        lead = (self.best - self.mean) / self.std
        density = np.exp(-0.5 * lead**2) / np.sqrt(2 * np.pi)
        return np.asarray((self.best - self.mean) * ndtr(lead) + self.std * density)


class Surrogate:
    """A Gaussian process with a Matern 5/2 kernel and one length scale a coordinate.

    The hyper-parameters start from the last fit's, and are fitted anew only when `refit` says so.
    """

    def __init__(self, points: Floats) -> None:
        self.points = points
        self.theta: Floats | None = None

    def believe(self, timed: npt.NDArray[np.intp], log_us: Floats, refit: bool) -> Belief:
        """Fit to the timed configs (positions and log times), predict every config of the space."""
        best = float(log_us.min())
        heights = np.minimum(log_us, best + _CEILING)
        center, scale = heights.mean(), max(float(heights.std()), 1e-6)
        process = _PriorGaussianProcess(self._kernel(), alpha=1e-8, optimizer=_maximise if refit else None)
        with warnings.catch_warnings():
            # A hyper-parameter at its bound is an answer here, not a fault.
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(self.points[timed], (heights - center) / scale)
        self.theta = np.asarray(process.kernel_.theta)
        mean, std = process.predict(self.points, return_std=True)
        noise = float(np.exp(self.theta[-1]))
        spread = np.sqrt(np.maximum(std**2 - noise, 1e-12))
        return Belief(mean * scale + center, spread * scale, best)

    def _kernel(self) -> Any:
        columns = self.points.shape[1]
        kernel = (
            ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.full(columns, _SCALE_DOUBLINGS), (1e-1, 1e2), nu=2.5)
        ) + WhiteKernel(_NOISE, (1e-6, 1e-1))
        return kernel if self.theta is None else kernel.clone_with_theta(self.theta)


class _PriorGaussianProcess(GaussianProcessRegressor):  # type: ignore[misc]
    """scikit-learn's process with log-normal priors on the hyper-parameters: few points must not fit extreme ones."""

    def log_marginal_likelihood(
        self, theta: Floats | None = None, eval_gradient: bool = False, clone_kernel: bool = True
    ) -> Any:
        found = super().log_marginal_likelihood(theta, eval_gradient, clone_kernel)
        if theta is None:
            return found
        center = np.full(len(theta), np.log(_SCALE_DOUBLINGS))
        center[0], center[-1] = 0.0, np.log(_NOISE)
        off = theta - center
        prior = -0.5 * float(off @ off)
        return (found[0] + prior, found[1] - off) if eval_gradient else found + prior


def _maximise(objective: Callable[..., Any], start: Floats, bounds: Floats) -> tuple[Floats, float]:
    """scikit-learn's optimizer hook: a few steps from a warm start are enough."""
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 30})
    return found.x, float(found.fun)
