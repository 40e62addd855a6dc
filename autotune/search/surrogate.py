"""Models a space: a Gaussian process over log times is fitted to what has been measured (`docs/searching.md`)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from autotune.search.arrays import Floats, Indices
from autotune.search.covariance import Covariance
from autotune.search.posterior import Posterior

_GROWTH = 1.2

_CEILING = 1.5
"""Log times are cut this far above the best (4.5x): how slow a hopeless config is must not bend the model elsewhere."""

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
        self._covariance = Covariance.expected(points.shape[1])
        self._posterior: Posterior | None = None
        self._fitted_to = 0
        self._scale = 1.0

    def believe(self, timed: Indices, log_us: Floats) -> Belief:
        """Predicts every config of the space from the timed configs (positions and log times)."""
        rest, trend, best = self._standing_out(timed, log_us)
        targets, center, scale = _standardised(rest)
        with _threads().limit(limits=1):
            posterior = self._posterior or self._fitted(timed, targets)
            posterior.observe(timed)
            mean = posterior.mean(targets)
        self._scale = scale
        return Belief(trend + mean * scale + center, posterior.std * scale, best)

    def learn(self, timed: Indices, log_us: Floats) -> None:
        """Fits the hyper-parameters again if there is enough to learn from; this is most of what a choice costs."""
        if self._posterior is None or len(timed) < _GROWTH * self._fitted_to:
            return
        rest, _, _ = self._standing_out(timed, log_us)
        targets, _, _ = _standardised(rest)
        with _threads().limit(limits=1):
            self._fitted(timed, targets).observe(timed)

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
        if self._posterior is None:
            return belief
        promising = np.argsort(-belief.expected_gain, kind="stable")[:_PROMISING]
        with _threads().limit(limits=1):
            self._posterior.observe(timed)
            std = self._posterior.std_knowing(in_flight, promising)
        shrunk = belief.std.copy()
        shrunk[promising] = std * self._scale
        return replace(belief, std=shrunk)

    def _fitted(self, timed: Indices, targets: Floats) -> Posterior:
        """Fits the hyper-parameters, and begins anew with what they make of observations."""
        self._covariance = self._covariance.fitted(self.points[timed], targets)
        self._posterior = Posterior(self._covariance, self.points)
        self._fitted_to = len(timed)
        return self._posterior


@functools.cache
def _threads() -> ThreadpoolController:
    """Returns the control over threads: for matrices this small, handing the work to other threads takes five times as
    long as doing it."""
    return ThreadpoolController()


def _standardised(values: Floats) -> tuple[Floats, float, float]:
    """Returns the values with mean 0 and variance 1, and the mean and the deviation taken off."""
    center, scale = float(values.mean()), max(float(values.std()), 1e-6)
    return (values - center) / scale, center, scale


def _share_explained(expected: Floats, found: Floats) -> float:
    """Returns the slope of what was found on what was expected, between ignoring the expectation and trusting it."""
    spread = float(((expected - expected.mean()) ** 2).sum())
    together = float(((expected - expected.mean()) * found).sum())
    return min(max(together / spread, 0.0), 1.0) if spread > 0 else 0.0
