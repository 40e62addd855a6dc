"""Defines what the tuning loop needs of a search: a sampler over a finite space, a pruning limit, a stop rule."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from autotune.contract import Config
from autotune.contract.space import Space
from autotune.search.history import Observer


class SpaceSampler(BaseSampler):
    """An Optuna sampler that proposes configs of a finite space, each at most once.

    The tuning loop compiles what `shortlist` names, then restricts `propose` to what has compiled (`among`), so that
    the choice of what to measure is made with the newest model and never waits for a compiler.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.observer = Observer(space)
        self.among: Sequence[Config] | None = None
        """What may be proposed; None for every config not yet tried."""
        self._choosing = threading.Lock()

    @abstractmethod
    def shortlist(self, study: optuna.Study, count: int) -> list[Config]:
        """Returns up to `count` distinct untried configs, the most promising first, none of them measured or in
        flight."""

    @abstractmethod
    def propose(self, study: optuna.Study) -> Config:
        """Returns the config to measure next, out of `among`.

        Raises:
            SpaceExhausted: If there is none left.
        """

    def ranked(self, study: optuna.Study, configs: Sequence[Config]) -> list[Config]:
        """Returns these untried configs, the one that `propose` would choose among them first, where it can be told
        ahead."""
        return list(configs)

    def learn(self, study: optuna.Study) -> None:
        """Does what the next choice need not wait for; it is called while a config is being measured."""
        return

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.space.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        # Threads may ask at the same time (`Study.optimize` with n_jobs): what one is given is in flight for the next.
        with self._choosing:
            self.observer.forget(trial)
            config = self.propose(study)
            self.observer.propose(trial, self.space.index(config))
        return self.space.params(config)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the lock: a sampler is pickled to go on elsewhere, and a lock cannot be."""
        return {name: value for name, value in vars(self).items() if name != "_choosing"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._choosing = threading.Lock()

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise NotImplementedError(f"{type(self).__name__} proposes whole configs; ask with space.distributions")


class SpaceExhausted(Exception):
    """Every config has been proposed."""


class StopRule(Protocol):
    """Decides when more measurements are not worth their time."""

    def gain_left(self, study: optuna.Study) -> float | None:
        """Returns the estimated share of the best time that going on would still save (0.01 = 1%); None before it can
        tell."""
        ...

    def measurements_left(self, study: optuna.Study) -> int | None:
        """Returns after how many measurements it will be done, unless one of them changes that; None while that cannot
        be told."""
        ...

    def done(self, study: optuna.Study) -> bool: ...


class Pruner(Protocol):
    """An Optuna pruner that also tells its limit in advance, for the worker to apply while it measures."""

    def limit_us(self, study: optuna.Study) -> float | None: ...

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool: ...


@dataclass(frozen=True)
class Search:
    """Everything that decides in a study.

    Attributes:
        compile_ahead: How many of the newest model's favourites are compiled each round; far more than are measured, so
            that what to measure is chosen after the last time is known, not before.
        per_round: How many configs are measured before the next favourites are named.
        first: Configs that are measured right behind the incumbent, whatever the sampler makes of them.
    """

    sampler: SpaceSampler
    pruner: Pruner
    stop: StopRule
    compile_ahead: int = 16
    per_round: int = 4
    first: Sequence[Config] = ()

    def shortlist(self, study: optuna.Study, count: int) -> list[Config]:
        """Returns up to `count` distinct untried configs: those that come first, then the sampler's."""
        listed = self.sampler.shortlist(study, count)
        if not self.first:
            return listed
        space, untried = self.sampler.space, self.sampler.observer.observe(study).untried
        first = [config for config in (space.incumbent, *self.first) if untried[space.index(config)]]
        return [*first, *(config for config in listed if config not in first)][:count]
