"""The default sampler: a model over the whole pool of untried configs, and the config it expects most of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna

from autotune.search.coordinates import coordinates, neighbours
from autotune.search.history import History, Indices
from autotune.search.neighbour import Neighbour, seeds
from autotune.search.ranking import RankingSampler
from autotune.search.start import spread
from autotune.search.surrogate import Belief, Surrogate
from autotune.space import Space

_START = 11
_SEEDS = 6
_REFIT_EVERY = 3
_SETTLED = 1e-3
"""Expected gain below which the model is done, and the neighbours of the best are tried one by one."""


class PoolSampler(RankingSampler):
    """Ranks every untried config by expected improvement under a Gaussian process.

    It begins with the incumbent, the neighbours' best and a spread over the space, and once the model expects nothing
    any more it descends from the best config to the best of its neighbours.
    """

    def __init__(self, space: Space, seed: int, neighbours: Sequence[Neighbour] = ()) -> None:
        super().__init__(space)
        self.points = coordinates(space)
        self.surrogate = Surrogate(self.points)
        known = [0, *seeds(space, neighbours, _SEEDS)]
        # Failures do not count as a start, so the spread goes on for longer than it should have to.
        self.plan = list(dict.fromkeys(known + spread(self.points, 3 * _START + 16, seed)))
        self.must_try = list(dict.fromkeys(known))
        self._belief: tuple[tuple[int, int], Belief] | None = None

    def started(self, history: History) -> bool:
        """Whether the incumbent, the seeds and enough of the spread have been measured."""
        return len(history.timed) >= min(_START, len(self.space)) and not history.untried[self.must_try].any()

    def belief(self, history: History) -> Belief:
        """The model after the newest measurement; fitted once however often it is asked for."""
        key = (len(history.timed), history.trials)
        if self._belief is None or self._belief[0][0] != key[0]:
            refit = self.surrogate.theta is None or key[0] % _REFIT_EVERY == 0
            self._belief = (key, self.surrogate.believe(history.timed, history.log_us, refit))
        return self._belief[1]

    def gain(self, history: History) -> float | None:
        """Most that any untried config is expected to gain on the best, as a share; None before the model stands."""
        if not self.started(history) or history.best is None:
            return None
        hopeful = history.untried & ~history.hopeless
        return float(self.belief(history).expected_gain[hopeful].max(initial=0.0))

    def rank(self, study: optuna.Study, history: History) -> Indices:
        planned = [i for i in self.plan if history.untried[i] and not history.hopeless[i]]
        candidates = history.candidates
        if len(history.timed) < 2:
            return np.array(list(dict.fromkeys(planned + candidates.tolist())), dtype=np.intp)
        ranked = self._by_expectation(history, candidates)
        if not self.started(history):
            return np.array(list(dict.fromkeys(planned + ranked.tolist())), dtype=np.intp)
        return ranked

    def _by_expectation(self, history: History, candidates: Indices) -> Indices:
        belief = self.belief(history)
        gain = belief.expected_gain[candidates]
        order = candidates[np.lexsort([belief.mean[candidates], -gain, history.hopeless[candidates]])]
        if history.best is None or gain.max(initial=0.0) > _SETTLED:
            return order
        near = neighbours(self.space, history.best)[order]
        near &= ~history.hopeless[order]
        by_mean = order[near][np.argsort(belief.mean[order[near]], kind="stable")]
        return np.concatenate([by_mean, order[~near]])
