"""Decides when to stop: the model expects no more, has been saying so for a while, least of all next to the best
config."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import optuna

from autotune.search.history import History

if TYPE_CHECKING:
    # Loads SciPy, which a sweep does without.
    from autotune.search.pool import PoolSampler


class NeverStop:
    """Leaves stopping to the budget and to the space's end."""

    def gain_left(self, study: optuna.Study) -> float | None:
        return None

    def measurements_left(self, study: optuna.Study) -> int | None:
        return None

    def done(self, study: optuna.Study) -> bool:
        return False


class GainStop:
    """Stops when the model has expected little of every untried config for a while, and next to nothing of those
    around the best.

    A Gaussian process is over-confident: one small expectation means little, many in a row, with the best config's
    neighbourhood settled, mean that the search is done (`docs/searching.md` has the calibration).

    Args:
        gain: Share of the best time that no untried config may be expected to save.
        gain_near: The same of those that differ from the best in one parameter, where the model is most often right.
        patience: Measurements in a row that this must hold for.
    """

    def __init__(
        self, sampler: PoolSampler, gain: float = 0.015, gain_near: float = 0.0005, patience: int = 15
    ) -> None:
        self.sampler = sampler
        self.gain = gain
        self.gain_near = gain_near
        self.patience = patience
        self._gains: dict[int, float] = {}

    def gain_left(self, study: optuna.Study) -> float | None:
        return self.sampler.gain(self.sampler.observe(study))

    def measurements_left(self, study: optuna.Study) -> int | None:
        history = self.sampler.observe(study)
        gain = self.sampler.gain(history)
        if gain is None:
            return None
        measured = len(history.timed)
        self._gains[measured] = gain
        if gain >= self.gain or self.sampler.gain_near(history) >= self.gain_near:
            return None
        if not self.sampler.descended(history):
            return None
        before = (self._gain_after(measured - back, history) for back in range(1, self.patience))
        calm = 1 + sum(1 for _ in itertools.takewhile(lambda gain: gain < self.gain, before))
        return self.patience - calm

    def done(self, study: optuna.Study) -> bool:
        return self.measurements_left(study) == 0

    def _gain_after(self, count: int, history: History) -> float:
        """Returns what was expected when so many had been timed, and works it out if nobody asked then, as in a resumed
        study."""
        if count not in self._gains:
            gain = self.sampler.gain(history.after(count)) if count > 0 else None
            self._gains[count] = 1.0 if gain is None else gain
        return self._gains[count]
