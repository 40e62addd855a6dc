"""Runs a group from where it stands to its result: every op's own search, the choice of the common value, the race.

All state is in the storage: trials on the members' studies, a mark on each whose own search is done, and at the end the
group's result, written whole onto the first member before anything else, so that a killed run is only ever repeated.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from autotune.contract import Config, groups
from autotune.errors import AutotuneError, InputError, one_of
from autotune.measure.result import Measurement
from autotune.run.clock import Clock
from autotune.run.group_choice import Standing, Table, best_us, next_search, sums_us
from autotune.run.group_race import VALUES, GroupRace, decide_group
from autotune.run.loop import Budget
from autotune.run.runner import OnProgress, Runner, Session
from autotune.search.api import Search
from autotune.search.coordinates import variants
from autotune.search.history import Mask
from autotune.search.pool import SETTLED, PoolSampler
from autotune.search.pruning import GapPruner
from autotune.search.stopping import NeverStop
from autotune.study import trials
from autotune.study.result import WALL, GroupResult
from autotune.study.study import KernelStudy

ENOUGH = 12
"""Configs of an op timed at a value before its model is believed when it says that nothing is left to gain there."""

MOST = 24
"""Configs of an op tried at a value after which it counts as explored whatever the model says; at the value with the
least sum, which is what will be exported, twice as many."""

OWN_SHARE = 0.75
"""Of an op's budget of measured configs, the most that its own search takes, which knows nothing of the group."""

_ROUND = 4
_DOUBT = 1.0
"""How many standard deviations below its expectation a config may still come out."""


class GroupRunner:
    """Runs groups with a `Runner`'s machine and options."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def run(
        self,
        members: Sequence[KernelStudy],
        on_progress: OnProgress = lambda progress: None,
        following: KernelStudy | None = None,
    ) -> GroupResult:
        """Finish a group; returns its result. Safe to kill at any moment, and to call again.

        Args:
            following: Run next: its first configs are compiled while this group is decided.

        Raises:
            InputError: If a member is missing or cannot go on here, or another process is running one.
            AutotuneError: If there is no common value at which every op ran correctly.
        """
        kind, path = check_members(members)
        runner = self.runner
        for study in members:
            runner.check_identity(study)
        with ExitStack() as stack:
            for study in members:
                stack.enter_context(runner.locked(study))
            result = members[0].group_result
            if result is None:
                ops = [
                    _Op(runner, stack.enter_context(runner.session(study)), kind.shared, on_progress)
                    for study in members
                ]
                result = _Group(runner, ops, kind.shared, path).decide(following)
                members[0].finish_group(result)
            self._hand_out(members, result)
        return result

    def _hand_out(self, members: Sequence[KernelStudy], result: GroupResult) -> None:
        """Give every member its part of the result; those that have it already keep it."""
        for study in members:
            if study.group_result is None:
                study.finish_group(result)
            if study.result is None:
                self.runner.finish(study, result.members[study.name])


def check_members(members: Sequence[KernelStudy]) -> tuple[groups.GroupKind, str]:
    """The kind and path of a group that is complete.

    Raises:
        InputError: If a member is missing.
    """
    kind, path = groups.kind_of(members[0].kernel.name)
    there = {study.kernel.name for study in members}
    if missing := [name for name in kind.members[path] if name not in there]:
        raise InputError(
            f"group {members[0].spec.group}: has no study of {one_of(missing)}; make it again with the flags of the "
            "group: study create ... --skip-if-exists"
        )
    return kind, path


@dataclass(frozen=True)
class _Group:
    """A group at work."""

    runner: Runner
    ops: Sequence[_Op]
    shared: str
    path: str

    def decide(self, following: KernelStudy | None) -> GroupResult:
        start_s = time.monotonic()
        for op in self.ops:
            op.compile_first()
        self._search_each(start_s)
        self._explore(start_s)
        self.runner.prepare(following)
        rounds = self.ops[0].session.study.settings.race_rounds
        raced = decide_group(self.ops, self.shared, self._values_to_race(), rounds)
        if raced is None:
            raise AutotuneError(
                f"group {self._name}: there is no {self.shared} at which every op ran "
                "correctly; see: study show, of each"
            )
        return self._result(raced, time.monotonic() - start_s)

    def _search_each(self, start_s: float) -> None:
        for position, op in enumerate(self.ops):
            left_s = self._left_s(start_s)
            # The choice of the common value gets a share of the time, too.
            share_s = None if left_s is None else left_s / (len(self.ops) - position + 1)
            op.search_whole(share_s)

    def _explore(self, start_s: float) -> None:
        """Search ops at single values for as long as that can change the choice."""
        last: str | None = None
        while (found := next_search(self._table(), last)) is not None:
            left_s = self._left_s(start_s)
            if left_s == 0:
                return
            value, last = found
            next(op for op in self.ops if op.name == last).search_at(value, left_s)

    def _table(self) -> Table:
        values = sorted(set.intersection(*(set(op.masks) for op in self.ops)))
        table = {value: {op.name: op.standing(value, MOST) for op in self.ops} for value in values}
        for leader in list(sums_us(table))[:1]:
            table[leader] = {op.name: op.standing(leader, 2 * MOST) for op in self.ops}
        return table

    def _values_to_race(self) -> list[int]:
        """The values of the least sums, and the one of the defaults."""
        default = self.ops[0].incumbent[self.shared]
        best = list(sums_us(self._table()))[:VALUES]
        return [*best, *([default] if default is not None and default not in best else [])]

    def _left_s(self, start_s: float) -> float | None:
        limit_s = self.runner.options.budget.timeout_s
        return None if limit_s is None else max(0.0, limit_s - (time.monotonic() - start_s))

    @property
    def _name(self) -> str:
        return self.ops[0].session.study.spec.group or ""

    def _result(self, raced: GroupRace, wall_s: float) -> GroupResult:
        table = self._table()
        return GroupResult(
            decision=raced.decision,
            group=self._name,
            shared={self.shared: raced.value},
            sums_us={str(value): round(sum_us, 3) for value, sum_us in sums_us(table).items()},
            best_us={op.name: best_us(table, op.name) for op in self.ops},
            seconds={WALL: round(wall_s, 3)},
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            members={op.name: self.runner.result(op.session, raced.ops[op.name], op.seconds) for op in self.ops},
            path=self.path,
        )


class _Op:
    """One member of a group at work."""

    def __init__(self, runner: Runner, session: Session, shared: str, on_progress: OnProgress) -> None:
        self.runner = runner
        self.session = session
        self.shared = shared
        self.on_progress = on_progress
        self.seconds: dict[str, float] = Clock().seconds | {WALL: 0.0}
        column = np.array([config[shared] for config in session.space.configs])
        self.masks: dict[int, Mask] = {int(value): column == value for value in dict.fromkeys(column.tolist())}

    @property
    def name(self) -> str:
        return self.session.study.name

    @property
    def incumbent(self) -> Config:
        return self.session.space.incumbent

    @cached_property
    def _sampler(self) -> PoolSampler:
        return PoolSampler(self.session.space, self.runner.options.seed)

    def compile_first(self) -> None:
        """Begin to compile what the op's own search will measure first."""
        if not self.session.study.searched:
            self.runner.compile_first(self.session)

    def search_whole(self, timeout_s: float | None) -> None:
        """The op's own search over its whole space, once in the study's life."""
        if self.session.study.searched:
            return
        runner, options = self.runner, self.runner.options
        # The rest is for what can change the choice of the common value.
        own_trials = max(1, math.ceil(OWN_SHARE * options.budget.trials))
        runner.options = replace(options, budget=Budget(own_trials, timeout_s))
        try:
            clock = runner.search_whole(self.session, self.on_progress, then="search")
        finally:
            runner.options = options
        self.seconds = clock.seconds | {WALL: clock.wall_s}
        self.session.study.mark_searched()

    def search_at(self, value: int, timeout_s: float | None) -> None:
        """Measure a few more configs at a value, the most promising first; the trials are the study's like any."""
        sampler = self._sampler
        sampler.within = self.masks[value]
        pruner = GapPruner(within={self.shared: value} if len(self.masks) > 1 else None)
        search = Search(sampler, pruner, NeverStop(), compile_ahead=2 * _ROUND, per_round=_ROUND)
        budget = Budget(min(self._launched + 2 * _ROUND, self.runner.options.budget.trials), timeout_s)
        self.runner.search(self.session, search, budget, self.on_progress)

    @property
    def _launched(self) -> int:
        return trials.launched(self.session.study.study.get_trials(deepcopy=False), self.session.space)

    def standing(self, value: int, most: int) -> Standing:
        """What the trials and the model say of the op at a value; the same for the same trials.

        Args:
            most: Configs tried at the value after which it counts as explored.
        """
        inside, sampler = self.masks[value], self._sampler
        sampler.within = inside
        history = sampler.observe(self.session.study.study)
        here = inside[history.timed]
        best_us = float(np.exp(history.log_us[here].min())) if here.any() else None
        hopeful = history.untried & ~history.hopeless
        tried = int(inside.sum() - history.untried.sum())
        if not hopeful.any() or tried >= most or self._launched >= self.runner.options.budget.trials:
            return Standing(best_us, 0.0, explored=True)
        if len(history.timed) < ENOUGH:
            return Standing(best_us, self._floor_us, explored=False)
        belief = sampler.belief(history)
        # The model is over-confident, and its data at one value are few: the best one's neighbours are all looked at.
        around = history.best is None or (variants(self.session.space, history.best) & hopeful).any()
        settled = here.sum() >= ENOUGH and not around and belief.expected_gain[hopeful].max() < SETTLED
        lower_us = math.exp(float((belief.mean - _DOUBT * belief.std)[hopeful].min()))
        return Standing(best_us, max(self._floor_us, lower_us), explored=bool(settled))

    @cached_property
    def _floor_us(self) -> float:
        study = self.session.study
        bandwidth = self.runner.bandwidth(study)
        return study.kernel.floor(study.problem).us(bandwidth) if bandwidth else 0.0

    def best_at(self, value: int, count: int) -> list[Config]:
        """The fastest measured configs at a value; one given up early there passed its check and may still be best."""
        found = trials.measured(self.session.study.study.get_trials(deepcopy=False), self.session.space)
        here = [(m.status != "ok", m.time_us, m.index) for m in found if self.masks[value][m.index] and m.time_us]
        return [self.session.space.configs[index] for _, _, index in sorted(here)[:count]]

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        return self.session.backend.race(configs, rounds)
