"""When to stop: the model expects no more, has been saying so for a while, and the neighbourhood has been looked at."""

from __future__ import annotations

import optuna

from autotune.search.coordinates import variants
from autotune.search.pool import SETTLED, PoolSampler


class NeverStop:
    """Leaves stopping to the budget and to the space's end."""

    def gain_left(self, study: optuna.Study) -> float | None:
        return None

    def done(self, study: optuna.Study) -> bool:
        return False


class GainStop:
    """Stops when the model has expected less than `gain` for `patience` measurements on end.

    A Gaussian process is over-confident: one small expectation means little, many on end with the best config's
    neighbourhood measured mean that the search is done (`docs/search.md` has the calibration).
    """

    def __init__(self, sampler: PoolSampler, gain: float = SETTLED, patience: int = 15) -> None:
        self.sampler = sampler
        self.gain = gain
        self.patience = patience
        self._gains: dict[int, float] = {}

    def gain_left(self, study: optuna.Study) -> float | None:
        return self.sampler.gain(self.sampler.observe(study))

    def done(self, study: optuna.Study) -> bool:
        history = self.sampler.observe(study)
        gain = self.sampler.gain(history)
        if gain is None or history.best is None:
            return False
        measured = len(history.timed)
        self._gains[measured] = gain
        recent = [self._gains.get(measured - back, 1.0) for back in range(self.patience)]
        around = variants(self.sampler.space, history.best) & history.untried & ~history.hopeless
        return max(recent) < self.gain and not around.any()
