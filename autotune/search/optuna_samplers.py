"""Runs Optuna's own samplers on a finite space: what they suggest is moved to the nearest config that is left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import optuna
from optuna.samplers import BaseSampler

from autotune.contract import Config
from autotune.contract.space import Space
from autotune.search.api import SpaceExhausted, SpaceSampler
from autotune.search.arrays import Mask


class SnapSampler(SpaceSampler):
    """Wraps a sampler that knows nothing of feasibility or of what has been tried; begins with the incumbent.

    The wrapped sampler is asked on a scratch copy of the study, so that it may suggest as often as is needed without a
    trace in the storage.

    Args:
        make_base: Builds the sampler from a seed: a new one is made for every proposal, so that a resumed study does
            not draw again what it has drawn.
    """

    def __init__(self, space: Space, make_base: Callable[[int], BaseSampler], seed: int) -> None:
        super().__init__(space)
        self.make_base = make_base
        self.seed = seed

    def shortlist(self, study: optuna.Study, count: int) -> list[Config]:
        return self._nearest(study, np.ones(len(self.space), dtype=bool), count)

    def propose(self, study: optuna.Study) -> Config:
        allowed = np.full(len(self.space), self.among is None)
        allowed[[self.space.index(c) for c in self.among or ()]] = True
        chosen = self._nearest(study, allowed, 1)
        if not chosen:
            raise SpaceExhausted
        return chosen[0]

    def _nearest(self, study: optuna.Study, allowed: Mask, count: int) -> list[Config]:
        history = self.observer.observe(study)
        left = history.untried & allowed
        rng = np.random.default_rng([self.seed, history.trials])
        scratch = optuna.create_study(sampler=self.make_base(int(rng.integers(2**31))))
        scratch.add_trials(t for t in study.get_trials(deepcopy=False) if t.state.is_finished())
        chosen: list[int] = []
        while left.any() and len(chosen) < count:
            params = scratch.ask(self.space.distributions).params
            target = [p.values.index(params[p.name]) for p in self.space.tunable]
            away = np.abs(self.space.ordinals - target).sum(axis=1) + 1e-6 * rng.random(len(left))
            # The hopeless are farther than all others, but not out of reach.
            away[history.hopeless] += 1e6
            away[~left] = np.inf
            chosen.append(0 if left[0] else int(away.argmin()))
            left[chosen[-1]] = False
        return [self.space.configs[i] for i in chosen]
