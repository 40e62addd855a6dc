"""When to stop: the model expects no more, has been saying so for a while, least of all next to the best config."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna

from autotune.search.history import History

if TYPE_CHECKING:
    # Loads scikit-learn, which a sweep does without.
    from autotune.search.pool import PoolSampler


class NeverStop:
    """Leaves stopping to the budget and to the space's end."""

    def gain_left(self, study: optuna.Study) -> float | None:
        return None

    def done(self, study: optuna.Study) -> bool:
        return False


class GainStop:
    """Stops when the model has expected little of every untried config for a while, and next to nothing of those
    around the best.

    A Gaussian process is over-confident: one small expectation means little, many on end with the best config's
    neighbourhood settled mean that the search is done (`docs/search.md` has the calibration).

    Args:
        gain: Share of the best time that no untried config may be expected to save.
        gain_near: The same of those that differ from the best in one parameter, where the model is most often right.
        patience: Measurements on end that this must hold for.
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

    def done(self, study: optuna.Study) -> bool:
        history = self.sampler.observe(study)
        gain = self.sampler.gain(history)
        if gain is None:
            return False
        measured = len(history.timed)
        self._gains[measured] = gain
        if gain >= self.gain or self.sampler.gain_near(history) >= self.gain_near:
            return False
        if not self.sampler.descended(history):
            return False
        return all(
            self._gain_after(count, history) < self.gain for count in range(measured - 1, measured - self.patience, -1)
        )

    def _gain_after(self, count: int, history: History) -> float:
        """What was expected when so many had been timed; worked out if nobody asked then, as in a resumed study."""
        if count not in self._gains:
            gain = self.sampler.gain(history.after(count)) if count > 0 else None
            self._gains[count] = 1.0 if gain is None else gain
        return self._gains[count]
