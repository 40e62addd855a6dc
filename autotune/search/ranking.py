"""Ranks the untried configs of a space; the simple samplers are here: random, grid, sweep."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import optuna

from autotune.contract import Config
from autotune.contract.space import Space
from autotune.search.api import SpaceExhausted, SpaceSampler
from autotune.search.arrays import Indices
from autotune.search.history import History


class RankingSampler(SpaceSampler):
    """A sampler that only has to say in which order it would try what is left."""

    @abstractmethod
    def rank(self, study: optuna.Study, history: History) -> Indices:
        """Returns the untried configs, the next one first."""

    def observe(self, study: optuna.Study) -> History:
        """Learns what the study knows."""
        return self.observer.observe(study)

    def shortlist(self, study: optuna.Study, count: int) -> list[Config]:
        return [self.space.configs[int(i)] for i in self.rank(study, self.observe(study))[:count]]

    def ranked(self, study: optuna.Study, configs: Sequence[Config]) -> list[Config]:
        order = self.rank(study, self.observe(study))
        return [self.space.configs[int(i)] for i in order[np.isin(order, [self.space.index(c) for c in configs])]]

    def propose(self, study: optuna.Study) -> Config:
        ranked = self.ranked(study, self.space.configs if self.among is None else self.among)
        if not ranked:
            raise SpaceExhausted
        return ranked[0]


class ListSampler(RankingSampler):
    """Tries these configs and no others, each once, in their order."""

    def __init__(self, space: Space, configs: Sequence[Config]) -> None:
        super().__init__(space)
        # One config may be named twice: a winner beside a size may be the default, or that of both sides.
        self.order = np.asarray(list(dict.fromkeys(map(space.index, configs))), dtype=np.int64)

    def rank(self, study: optuna.Study, history: History) -> Indices:
        return np.asarray(self.order[history.untried[self.order]])


class OrderSampler(RankingSampler):
    """Tries everything in a fixed order, the incumbent first: a resumed study goes on where it was.

    Args:
        seed: Shuffles the order; None keeps the space's own.
    """

    def __init__(self, space: Space, seed: int | None) -> None:
        super().__init__(space)
        rest = np.arange(1, len(space))
        if seed is not None:
            np.random.default_rng(seed).shuffle(rest)
        self.order = np.concatenate([[0], rest])

    def rank(self, study: optuna.Study, history: History) -> Indices:
        last = history.hopeless[self.order]
        order = np.concatenate([self.order[~last], self.order[last]])
        return np.asarray(order[history.untried[order]])
