"""Runs one op of a group: its own search, what is known of it at each value, its races."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import optuna

from autotune.contract import Config
from autotune.measure.result import Measurement
from autotune.run.clock import Clock
from autotune.run.group_choice import Standing
from autotune.run.options import Budget
from autotune.run.progress import OnProgress
from autotune.run.runner import Runner
from autotune.run.sessions import Session
from autotune.search.api import Search
from autotune.search.arrays import Mask
from autotune.search.coordinates import variants
from autotune.search.pool import SETTLED, PoolSampler
from autotune.search.pruning import GapPruner
from autotune.search.stopping import NeverStop
from autotune.study import trials
from autotune.study.result import WALL

ENOUGH = 12
"""Configs of an op timed at a value before its model is believed when it says that nothing is left to gain there."""

OWN_SHARE = 0.75
"""Of an op's budget of measured configs, the most that its own search takes, which knows nothing of the group."""

_ROUND = 4
_DOUBT = 1.0
"""How many standard deviations below its expectation a config may still come out."""


class GroupMember:
    """One op of a group.

    Args:
        shared: The parameter that all ops of the group share.
        trials: Most configs measured over the study's whole life.

    Attributes:
        seconds: Where the time of its own search went, as results keep it.
        masks: For each value of the shared parameter, the configs that have it.
    """

    def __init__(self, runner: Runner, session: Session, shared: str, trials: int, on_progress: OnProgress) -> None:
        self.session = session
        self.seconds: dict[str, float] = Clock().seconds | {WALL: 0.0}
        self._runner = runner
        self._shared = shared
        self._trials = trials
        self._on_progress = on_progress
        self._known: optuna.Study | None = None
        self._standings: dict[tuple[int, int], Standing] = {}
        column = np.array([config[shared] for config in session.space.configs])
        self.masks: dict[int, Mask] = {int(value): column == value for value in dict.fromkeys(column.tolist())}

    @property
    def name(self) -> str:
        return self.session.study.name

    @property
    def incumbent(self) -> Config:
        return self.session.space.incumbent

    @property
    def other_defaults(self) -> Sequence[Config]:
        study = self.session.study
        return study.kernel.other_defaults(study.problem, study.gpu)

    @property
    def raced_values(self) -> list[int]:
        """The shared parameter's values of all that has been measured correctly."""
        return [value for value in self.masks if self.best_at(value, 1)]

    def measure_beside(self) -> tuple[str, ...]:
        """Measures what the studies of the sizes beside chose, and the defaults; returns those studies' names."""
        winners, space = self._runner.sessions.beside(self.session), self.session.space
        candidates = [self.incumbent, *self.other_defaults, *filter(space.has, winners.values())]
        if winners:
            clock = self._runner.measure_all(self.session, candidates, self._on_progress).clock
            self._forget()
            self.seconds = clock.seconds | {WALL: clock.wall_s}
        return tuple(winners)

    def compile_first(self) -> None:
        """Begins to compile what the op's own search will measure first."""
        if not self.session.study.searched:
            self._runner.sessions.compile_first(self.session)

    def search_whole(self, timeout_s: float | None, share_s: float | None) -> None:
        """Runs the op's own search over its whole space, once in the study's life.

        Args:
            timeout_s: What the group has left.
            share_s: What is this op's of it, once its search has begun.
        """
        if self.session.study.searched:
            return
        # The rest is for what can change the choice of the common value.
        budget = Budget(max(1, math.ceil(OWN_SHARE * self._trials)), timeout_s, share_s=share_s)
        clock = self._runner.search_whole(self.session, budget, self._on_progress, then="search").clock
        self._forget()
        self.seconds = clock.seconds | {WALL: clock.wall_s}
        self.session.study.mark_searched()

    def search_at(self, value: int, timeout_s: float | None) -> None:
        """Measures a few more configs at a value, the most promising first; the trials are the study's like any."""
        sampler = self._sampler
        sampler.within = self.masks[value]
        pruner = GapPruner(within={self._shared: value} if len(self.masks) > 1 else None)
        search = Search(sampler, pruner, NeverStop(), compile_ahead=2 * _ROUND, per_round=_ROUND)
        budget = Budget(min(self._launched + 2 * _ROUND, self._trials), timeout_s)
        self._runner.search(self.session, search, budget, self._on_progress)
        self._forget()

    def standing(self, value: int, most: int) -> Standing:
        """Tells what the trials and the model say of the op at a value; the same for the same trials.

        Args:
            most: Configs tried at the value after which it counts as explored.
        """
        if (found := self._standings.get((value, most))) is None:
            found = self._standings[value, most] = self._stand(value, most)
        return found

    def _stand(self, value: int, most: int) -> Standing:
        inside, sampler = self.masks[value], self._sampler
        sampler.within = inside
        history = sampler.observe(self.known)
        here = inside[history.timed]
        best_us = float(np.exp(history.log_us[here].min())) if here.any() else None
        hopeful = history.untried & ~history.hopeless
        tried = int(inside.sum() - history.untried.sum())
        if not hopeful.any() or tried >= most or self._launched >= self._trials:
            return Standing(best_us, 0.0, explored=True)
        if len(history.timed) < ENOUGH:
            return Standing(best_us, self._floor_us, explored=False)
        belief = sampler.belief(history)
        # The model is over-confident, and its data at one value are few: the best one's neighbours are all looked at.
        around = history.best is None or (variants(self.session.space, history.best) & hopeful).any()
        settled = here.sum() >= ENOUGH and not around and belief.expected_gain[hopeful].max() < SETTLED
        lower_us = math.exp(float((belief.mean - _DOUBT * belief.std)[hopeful].min()))
        return Standing(best_us, max(self._floor_us, lower_us), explored=bool(settled))

    def best_at(self, value: int, count: int) -> list[Config]:
        """Finds the fastest measured configs at a value; one given up early there was correct and may still be best."""
        found = trials.measured(self.known.get_trials(deepcopy=False), self.session.space)
        here = [(m.status != "ok", m.time_us, m.index) for m in found if self.masks[value][m.index] and m.time_us]
        return [self.session.space.configs[index] for _, _, index in sorted(here)[:count]]

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        return self.session.backend.race(configs, rounds)

    @cached_property
    def _sampler(self) -> PoolSampler:
        return PoolSampler(self.session.space, self._runner.options.seed)

    @property
    def _launched(self) -> int:
        return trials.launched(self.known.get_trials(deepcopy=False), self.session.space)

    @property
    def known(self) -> optuna.Study:
        """The study as the last search left it, in memory: nobody else adds trials, so the storage is asked once."""
        if self._known is None:
            self._known = trials.working_copy(self.session.study.study, self.session.space, self._sampler)
        return self._known

    def _forget(self) -> None:
        """Forgets what was known before a search."""
        self._known = None
        self._standings.clear()

    @cached_property
    def _floor_us(self) -> float:
        study = self.session.study
        bandwidth_bytes_per_s = self._runner.backends.bandwidth_bytes_per_s(study)
        return study.kernel.floor(study.problem).us(bandwidth_bytes_per_s) if bandwidth_bytes_per_s else 0.0
