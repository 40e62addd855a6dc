"""Samples by default: a model over the whole pool of untried configs names the config it expects most of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import optuna

from autotune.contract import Config
from autotune.contract.space import Space
from autotune.search.arrays import Floats, Indices, Mask
from autotune.search.coordinates import coordinates, steps, variants, with_pairs
from autotune.search.history import History
from autotune.search.neighbour import Neighbour, seeds
from autotune.search.ranking import RankingSampler
from autotune.search.start import favoured, spread
from autotune.search.surrogate import Belief, Surrogate
from autotune.search.transfer import transferred

_START = 8
_SEEDS = 6
_NEAR_OF_THREE = 2
"""Of every three measurements this many stay next to the best, where the model is most often right."""

_FAVOURITES = 6
"""Of the configs compiled ahead, at most this many, and a third, are the estimate's favourites; in most rounds that is
more than are measured."""

_WORTH = 0.1
"""A config next to the best is preferred only if it promises this share of what the most promising one does."""

_NONE: Indices = np.array([], dtype=np.intp)

SETTLED = 0.005
"""Expected gain, as a share of the best time, below which all that is left is to look around the best."""


class PoolSampler(RankingSampler):
    """Ranks every untried config by expected improvement under a Gaussian process.

    It begins with the incumbent, the neighbours' best and a spread over the space. From then on it descends: two of
    three measurements go to configs that differ from the best in one parameter, the third to anywhere. Where the kernel
    has an estimate, it is the model's mean, half of the start is chosen by it, and the third measurement is its
    favourite: no measured cliff can change that.
    """

    def __init__(
        self, space: Space, seed: int, neighbours: Sequence[Neighbour] = (), log_estimate: Floats | None = None
    ) -> None:
        super().__init__(space)
        points = coordinates(space)
        self.surrogate = Surrogate(with_pairs(points), transferred(space, neighbours, log_estimate))
        self.known = list(dict.fromkeys([0, *seeds(space, neighbours, _SEEDS)]))
        self.favourites: Indices | None = None
        # Failures do not count as a start, so there is more of the spread than should be needed.
        start = spread(points, 4 * _START, seed)
        if log_estimate is not None:
            self.favourites = np.argsort(log_estimate, kind="stable")
            half = _START // 2
            favoured_first = itertools.chain(*zip(favoured(points, log_estimate, half, seed + 1), start, strict=False))
            # What is compiled ahead besides the start is the model's first choice: the best by the estimate.
            start = [*favoured_first, *start[half:_START], *self.favourites[: 4 * _START].tolist(), *start[_START:]]
        self.plan = list(dict.fromkeys(self.known + start))
        self.within: Mask | None = None
        """The configs that the search is about, to look for the best of these; None for all."""
        self._belief: tuple[int, Belief] | None = None

    def observe(self, study: optuna.Study) -> History:
        return self.observer.observe(study, self.within)

    def started(self, history: History) -> bool:
        """Tells whether the incumbent, the seeds and enough of the spread have been measured."""
        return len(history.timed) >= min(_START, len(self.space)) and not history.untried[self.known].any()

    def belief(self, history: History) -> Belief:
        """Returns the model after the newest measurement; it is made once, however often it is asked for."""
        if self._belief is None or self._belief[0] != len(history.timed):
            self._belief = len(history.timed), self.surrogate.believe(history.timed, history.log_us)
        belief = self._belief[1]
        if self.within is not None and (inside := self.within[history.timed]).any():
            belief = replace(belief, best=float(history.log_us[inside].min()))
        if not history.in_flight:
            return belief
        return self.surrogate.expecting(belief, history.timed, history.in_flight)

    def learn(self, study: optuna.Study) -> None:
        history = self.observe(study)
        if self.started(history):
            self.surrogate.learn(history.timed, history.log_us)

    def gain(self, history: History) -> float | None:
        """Returns the most that any untried config is expected to gain on the best, as a share; None before the model
        stands."""
        if not self.started(history) or history.best is None:
            return None
        hopeful = history.untried & ~history.hopeless
        return float(self.belief(history).expected_gain[hopeful].max(initial=0.0))

    def gain_near(self, history: History) -> float:
        """Returns the same for those that differ from the best in one parameter."""
        if history.best is None:
            return 0.0
        around = variants(self.space, history.best) & history.untried & ~history.hopeless
        return float(self.belief(history).expected_gain[around].max(initial=0.0))

    def descended(self, history: History) -> bool:
        """Tells whether the best has been compared with all that is a step away from it.

        With an estimate, this takes a quarter more measurements and gains nothing. Without one the model has passed
        over a config that was 1.6% faster.
        """
        if history.best is None or self.favourites is not None:
            return True
        return not (steps(self.space, history.best) & history.untried & ~history.hopeless).any()

    def shortlist(self, study: optuna.Study, count: int) -> list[Config]:
        """Returns both kinds of ideas, in the shares in which they are measured."""
        history = self.observe(study)
        if not self.started(history):
            return super().shortlist(study, count)
        anywhere, near = self._anywhere(history), self._near(history)
        favourites = self._favourites(history)[: min(_FAVOURITES, -(-count // 3))]
        share = max(0, count * _NEAR_OF_THREE // 3 - len(favourites))
        mixed = dict.fromkeys([*favourites.tolist(), *near[:share].tolist(), *anywhere.tolist()])
        return [self.space.configs[i] for i in itertools.islice(mixed, count)]

    def rank(self, study: optuna.Study, history: History) -> Indices:
        if self.started(history):
            anywhere = self._anywhere(history)
            if len(history.timed) % 3 >= _NEAR_OF_THREE:
                return _merged(self._favourites(history), anywhere)
            return _merged(self._near(history), anywhere)
        wanted = history.untried & ~history.hopeless
        # A seed is tried even where it looks hopeless: a neighbour did run it.
        wanted[self.known] = history.untried[self.known]
        planned = np.array([i for i in self.plan if wanted[i]], dtype=np.intp)
        return _merged(planned, history.candidates if len(history.timed) < 2 else self._anywhere(history))

    def _anywhere(self, history: History) -> Indices:
        """Returns all that is left, by expected gain; where that vanishes, by expected time."""
        belief, left = self.belief(history), history.candidates
        return left[np.lexsort([belief.mean[left], -belief.expected_gain[left], history.hopeless[left]])]

    def _favourites(self, history: History) -> Indices:
        """Returns what is left, best estimate first; nothing without an estimate, or while it misleads."""
        order = self.favourites
        if order is None or self.surrogate.trust == 0:
            return _NONE
        return order[(history.untried & ~history.hopeless)[order]]

    def _near(self, history: History) -> Indices:
        """Returns what is left next to the best, in the same order."""
        if history.best is None:
            return _NONE
        ranked, gain = self._anywhere(history), self.belief(history).expected_gain
        wanted = variants(self.space, history.best) & ~history.hopeless
        if len(ranked) and gain[ranked[0]] > SETTLED:
            wanted &= gain >= _WORTH * gain[ranked[0]]
        return ranked[wanted[ranked]]


def _merged(first: Indices, then: Indices) -> Indices:
    return np.array(list(dict.fromkeys([*first.tolist(), *then.tolist()])), dtype=np.intp)
