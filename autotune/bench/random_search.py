"""Computes random search instead of sampling it: n different configs drawn evenly from the N of a space that compile.

The best of them is worse than the r best configs of the space with the probability that all n miss those r, the
hypergeometric C(N - r, n) / C(N, n). Given-up configs are drawn too: they are as bad as the slowest that ran.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from autotune.bench.outcome import Spread, slowest
from autotune.measure.recording import Recording
from autotune.measure.result import COMPILE_FAILURES
from autotune.search.arrays import Floats


def regrets(recording: Recording) -> Floats:
    """Returns the regret that each config that compiles would leave, best first."""
    worst = slowest(recording)
    best_us = recording.best_us
    drawn = [m for m in recording.measurements if m.status not in COMPILE_FAILURES]
    left = [m.median_us / best_us - 1 if m.status == "ok" else worst for m in drawn]
    return np.sort(np.array(left))


def chance_within(configs: int, draws: int) -> Floats:
    """Returns in entry r the probability that the best of the draws is among the r + 1 best of the space."""
    draws = min(draws, configs)
    rank = np.arange(1, configs + 1)
    left = configs - rank
    fits = left >= draws
    safe = np.where(fits, left, draws)
    log_miss = gammaln(safe + 1) - gammaln(safe - draws + 1) + gammaln(configs - draws + 1) - gammaln(configs + 1)
    return np.asarray(1 - np.where(fits, np.exp(log_miss), 0.0))


def spread(recording: Recording, draws: int) -> Spread:
    """Returns the regrets that random search may leave, and how likely each is."""
    left = regrets(recording)
    return Spread(left, np.diff(chance_within(len(left), draws), prepend=0.0))


def worst_regret(recording: Recording, draws: int) -> float:
    """Returns the regret if the draws are the slowest configs there are."""
    left = regrets(recording)
    return float(left[max(len(left) - draws, 0)])


def draws_to(recording: Recording, regret: float) -> int:
    """Tells how many draws it takes to be within a regret more often than not."""
    left = regrets(recording)
    good = int(np.searchsorted(left, regret, side="right"))
    return next(n for n in range(1, len(left) + 1) if chance_within(len(left), n)[good - 1] >= 0.5 - 1e-12)
