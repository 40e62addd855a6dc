"""Models a space: a Gaussian process over log times is fitted to what has been measured (`docs/searching.md`)."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from threadpoolctl import ThreadpoolController

from autotune.search.arrays import Floats, Indices

_GROWTH = 1.2

_CEILING = 1.5
"""Log times are cut this far above the best (4.5x): how slow a hopeless config is must not bend the model elsewhere."""

_SCALE_DOUBLINGS = 4.0
"""Length scale expected of a coordinate, in doublings. There are many, pairs included: most must matter little."""

_NOISE = 1e-2
"""Noise variance expected, as a share of the variance of the log times; what no smooth model explains is noise, too."""

_PROMISING = 256


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

    The hyper-parameters are fitted by the first `believe`, and again by `learn`, starting from the last fit, each time
    the data have grown by a fifth.

    Args:
        points: One row a config.
        prior_mean: Log times expected of each config before it is measured, up to a constant and a factor that the data
            decide.
    """

    def __init__(self, points: Floats, prior_mean: Floats | None = None) -> None:
        self.points = points
        self.prior_mean = np.zeros(len(points)) if prior_mean is None else prior_mean
        self.trust = 1.0
        """The factor of the prior mean: 0 once what was timed contradicts it."""
        self._theta: Floats | None = None
        self._fitted_to = 0
        self._scale = 1.0

    def believe(self, timed: Indices, log_us: Floats) -> Belief:
        """Predicts every config of the space from the timed configs (positions and log times)."""
        rest, trend, best = self._standing_out(timed, log_us)
        targets, center, scale = _standardised(rest)
        with _threads().limit(limits=1):
            process = self._fit(timed, targets, refit=self._theta is None)
            mean, std = process.predict(self.points, return_std=True)
        self._scale = scale
        return Belief(trend + mean * scale + center, _without_noise(process, std) * scale, best)

    def learn(self, timed: Indices, log_us: Floats) -> None:
        """Fits the hyper-parameters again if there is enough to learn from; this is most of what a choice costs."""
        if self._theta is None or len(timed) < _GROWTH * self._fitted_to:
            return
        rest, _, _ = self._standing_out(timed, log_us)
        targets, _, _ = _standardised(rest)
        with _threads().limit(limits=1):
            self._fit(timed, targets, refit=True)

    def _standing_out(self, timed: Indices, log_us: Floats) -> tuple[Floats, Floats, float]:
        """Returns what the prior mean does not explain of the times, that mean for every config, and the best time."""
        best = float(log_us.min())
        heights = np.minimum(log_us, best + _CEILING)
        self.trust = _share_explained(self.prior_mean[timed], heights)
        trend = self.trust * self.prior_mean
        return heights - trend[timed], trend, best

    def expecting(self, belief: Belief, timed: Indices, in_flight: Sequence[int]) -> Belief:
        """Returns the belief once the configs in flight have come out as expected.

        No mean moves, only the doubt around them goes (the "kriging believer" of Ginsbourger et al. 2010). As that can
        only lower an expected gain, the most promising configs are looked at and the others left as they are.
        """
        promising = np.argsort(-belief.expected_gain, kind="stable")[:_PROMISING]
        known = np.concatenate([timed, np.array(in_flight, dtype=np.intp)])
        with _threads().limit(limits=1):
            process = self._fit(known, np.zeros(len(known)), refit=False)
            _, std = process.predict(self.points[promising], return_std=True)
        shrunk = belief.std.copy()
        shrunk[promising] = _without_noise(process, std) * self._scale
        return replace(belief, std=shrunk)

    def _fit(self, timed: Indices, targets: Floats, refit: bool) -> GaussianProcessRegressor:
        process = _PriorGaussianProcess(self._kernel(), alpha=1e-8, optimizer=_maximise if refit else None)
        with warnings.catch_warnings():
            # A hyper-parameter at its bound is an answer here, not a fault.
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(self.points[timed], targets)
        if refit:
            self._theta, self._fitted_to = np.asarray(process.kernel_.theta), len(timed)
        return process

    def _kernel(self) -> Any:
        columns = self.points.shape[1]
        kernel = (
            ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.full(columns, _SCALE_DOUBLINGS), (1e-1, 1e3), nu=2.5)
        ) + WhiteKernel(_NOISE, (1e-6, 1e-1))
        return kernel if self._theta is None else kernel.clone_with_theta(self._theta)


@functools.cache
def _threads() -> ThreadpoolController:
    """Returns the control over threads: for matrices this small, handing the work to other threads takes five times as
    long as doing it."""
    return ThreadpoolController()


def _without_noise(process: GaussianProcessRegressor, std: Floats) -> Floats:
    """Returns the doubt about the true time: scikit-learn's also includes what the next sample would add."""
    noise = float(np.exp(process.kernel_.theta[-1]))
    return np.sqrt(np.maximum(std**2 - noise, 1e-12))


def _standardised(values: Floats) -> tuple[Floats, float, float]:
    """Returns the values with mean 0 and variance 1, and the mean and the deviation taken off."""
    center, scale = float(values.mean()), max(float(values.std()), 1e-6)
    return (values - center) / scale, center, scale


def _share_explained(expected: Floats, found: Floats) -> float:
    """Returns the slope of what was found on what was expected, between ignoring the expectation and trusting it."""
    spread = float(((expected - expected.mean()) ** 2).sum())
    together = float(((expected - expected.mean()) * found).sum())
    return min(max(together / spread, 0.0), 1.0) if spread > 0 else 0.0


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
    """Fits as scikit-learn's optimizer hook: a few steps from a warm start are enough."""
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 15})
    return found.x, float(found.fun)
