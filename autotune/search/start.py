"""Says where a search begins when it knows nothing: evenly spread over the space."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.stats import qmc

from autotune.search.arrays import Floats

_FAST_SHARE = 0.1
"""Of a space, by estimate: what its favourites are spread over, so that they are not all of a kind."""


def favoured(points: Floats, log_estimate: Floats, count: int, seed: int) -> list[int]:
    """Returns the positions of `count` distinct configs, spread evenly over those that are estimated to be the
    fastest."""
    fastest = np.argsort(log_estimate, kind="stable")[: max(count, int(_FAST_SHARE * len(points)))]
    return [int(i) for i in fastest[spread(points[fastest], count, seed)]]


def spread(points: Floats, count: int, seed: int) -> list[int]:
    """Returns the positions of `count` distinct configs, each the nearest one left to a point of a scrambled Sobol
    sequence.

    Sobol points (Owen scrambling, via SciPy) stay evenly spread however early the sequence is cut.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    unit = (points - low) / np.where(high > low, high - low, 1.0)
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        # SciPy asks for a power of two; the sequence is cut wherever the search stops.
        warnings.simplefilter("ignore", UserWarning)
        targets = qmc.Sobol(points.shape[1], rng=rng).random(count)
    left = np.ones(len(points), dtype=bool)
    # Ties are broken by the seed, not by the order of the space.
    jitter = 1e-6 * rng.random(len(points))
    chosen: list[int] = []
    for target in targets[: len(points)]:
        distance = ((unit - target) ** 2).sum(axis=1) + jitter
        distance[~left] = np.inf
        chosen.append(int(distance.argmin()))
        left[chosen[-1]] = False
    return chosen
