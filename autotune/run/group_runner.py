"""Runs a group from where it stands to its result: every op's own search, the choice of the common value, the race.

All state is in the storage: trials on the members' studies, a mark on each whose own search is done, and at the end the
group's result, written whole onto the first member before anything else, so that a killed run is only ever repeated.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from autotune.contract import groups, source
from autotune.errors import AutotuneError, InputError, one_of
from autotune.run import identity
from autotune.run.clock import Deadline
from autotune.run.group_choice import Standing, Table, best_us, next_search, sums_us
from autotune.run.group_member import GroupMember
from autotune.run.group_race import VALUES, GroupRace, decide_group
from autotune.run.neighbours import NothingBesideError
from autotune.run.options import LEAST_SEARCH_S, Budget
from autotune.run.progress import OnProgress
from autotune.run.runner import Runner
from autotune.study.result import WALL, GroupResult
from autotune.study.study import KernelStudy

MOST = 24
"""Configs of an op tried at a value after which it counts as explored, even if the model disagrees; at the value with
the least sum, which is what will be exported, twice as many."""


_RACE = Budget(trials=1)
"""Searches nothing: a race has its own list of what to measure."""


class GroupRunner:
    """Runs groups by a `Runner`'s means."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def run(
        self,
        studies: Sequence[KernelStudy],
        budget: Budget,
        on_progress: OnProgress = lambda progress: None,
        following: KernelStudy | None = None,
    ) -> GroupResult:
        """Finishes a group; returns its result. Safe to kill at any moment, and to call again.

        Args:
            studies: All of the group's.
            budget: Trials of each study, and seconds of the whole group.
            following: Run next: its first configs are compiled while this group is decided.

        Raises:
            InputError: If a study is missing or cannot go on here.
            HeldError: If another process is running one.
            AutotuneError: If there is no common value at which every op ran correctly.
        """
        return self._finish(studies, budget, on_progress, lambda group: group.decide(following))

    def race(self, studies: Sequence[KernelStudy], on_progress: OnProgress = lambda progress: None) -> GroupResult:
        """Finishes a group by a race of what the groups of the sizes beside its own chose and of the defaults.

        Raises:
            InputError: If a study is missing or cannot go on here.
            HeldError: If another process is running one.
            NothingBesideError: If no size beside it has winners.
            AutotuneError: If none of all ran correctly.
        """
        return self._finish(studies, _RACE, on_progress, lambda group: group.race())

    def _finish(
        self,
        studies: Sequence[KernelStudy],
        budget: Budget,
        on_progress: OnProgress,
        decide: Callable[[GroupRun], GroupResult],
    ) -> GroupResult:
        kind, path = check_complete(studies)
        runner = self.runner
        for study in studies:
            identity.check(study, runner.options)
        with ExitStack() as stack:
            stack.enter_context(runner.holding(studies))
            result = studies[0].group_result
            if result is None:
                sessions = [stack.enter_context(runner.sessions.opened(study)) for study in studies]
                members = [GroupMember(runner, each, kind.shared, budget.trials, on_progress) for each in sessions]
                result = decide(GroupRun(runner, members, kind.shared, path, Deadline(_time_s(budget, len(members)))))
                studies[0].finish_group(result)
            self._hand_out(studies, result)
        return result

    def _hand_out(self, studies: Sequence[KernelStudy], result: GroupResult) -> None:
        """Gives every study its part of the result; those that have it already keep it."""
        for study in studies:
            if study.group_result != result:
                study.finish_group(result)
            if study.result != result.members[study.name]:
                self.runner.finish(study, result.members[study.name])


def check_complete(studies: Sequence[KernelStudy]) -> tuple[groups.GroupKind, str]:
    """Finds the kind and the path of a group.

    Raises:
        InputError: If one of its studies is missing.
    """
    kind, path = groups.kind_of(studies[0].kernel.name)
    there = {source.split(study.kernel.name)[0] for study in studies}
    if missing := [name for name in kind.members[path] if name not in there]:
        raise InputError(
            f"group {studies[0].spec.group}: has no study of {one_of(missing)}; make it again with the flags of the "
            "group: study create ... --skip-if-exists"
        )
    return kind, path


def _time_s(budget: Budget, members: int) -> float | None:
    """Returns how long a group may take: its share, and what its members take at least."""
    share_s = None if budget.share_s is None else budget.share_s + LEAST_SEARCH_S * members
    return min((each for each in (budget.timeout_s, share_s) if each is not None), default=None)


@dataclass(frozen=True)
class GroupRun:
    """One run of a group that is not decided yet.

    Attributes:
        shared: The parameter whose value all members share.
        path: Which of the server's code paths the group is for.
    """

    runner: Runner
    members: Sequence[GroupMember]
    shared: str
    path: str
    deadline: Deadline

    def decide(self, following: KernelStudy | None) -> GroupResult:
        """Searches the members, chooses the common value and races; returns the group's result."""
        start_s = time.monotonic()
        for member in self.members:
            member.compile_first()
        self._search_each()
        self._explore()
        self.runner.sessions.prepare(following)
        return self._result(self._raced(self._values_to_race()), time.monotonic() - start_s)

    def race(self) -> GroupResult:
        """Measures what the groups beside chose and the defaults, and races; returns the group's result."""
        start_s = time.monotonic()
        from_studies = {member.name: member.measure_beside() for member in self.members}
        if not any(from_studies.values()):
            raise NothingBesideError(f"group {self._name}")
        values = dict.fromkeys(value for member in self.members for value in member.raced_values)
        result = self._result(self._raced(list(values)), time.monotonic() - start_s)
        parts = {name: replace(part, raced_from=from_studies[name]) for name, part in result.members.items()}
        return replace(result, members=parts)

    def _raced(self, values: Sequence[int]) -> GroupRace:
        rounds = self.members[0].session.study.settings.race_rounds
        raced = decide_group(self.members, self.shared, values, rounds)
        if raced is None:
            raise AutotuneError(
                f"group {self._name}: there is no {self.shared} at which every op ran "
                "correctly; see: study show, of each"
            )
        return raced

    def _search_each(self) -> None:
        """Runs every member's own search."""
        for position, member in enumerate(self.members):
            left_s = self.deadline.left_s
            # The choice of the common value gets a share of the time, too.
            share_s = None if left_s is None else left_s / (len(self.members) - position + 1) - LEAST_SEARCH_S
            member.search_whole(left_s, share_s)

    def _explore(self) -> None:
        """Searches members at single values for as long as that can change the choice."""
        by_name = {member.name: member for member in self.members}
        last: str | None = None
        while (found := next_search(self._table(), last)) is not None:
            left_s = self.deadline.left_s
            if left_s == 0:
                return
            value, last = found
            by_name[last].search_at(value, left_s)

    def _table(self) -> Table:
        """Tells where each member stands at each value that all have."""
        values = sorted(set.intersection(*(set(member.masks) for member in self.members)))
        table = {value: self._standings(value, MOST) for value in values}
        for leader in list(sums_us(table))[:1]:
            table[leader] = self._standings(leader, 2 * MOST)
        return table

    def _standings(self, value: int, most: int) -> dict[str, Standing]:
        return {member.name: member.standing(value, most) for member in self.members}

    def _values_to_race(self) -> list[int]:
        """Chooses the values of the least sums, and the one of the defaults."""
        first = self.members[0]
        defaults = [config[self.shared] for config in (first.incumbent, *first.other_defaults)]
        best = list(sums_us(self._table()))[:VALUES]
        return list(dict.fromkeys([*best, *(value for value in defaults if value is not None)]))

    @property
    def _name(self) -> str:
        return self.members[0].session.study.spec.group or ""

    def _result(self, raced: GroupRace, wall_s: float) -> GroupResult:
        table = self._table()
        parts = {m.name: self.runner.result(m.session, raced.ops[m.name], m.known, m.seconds) for m in self.members}
        return GroupResult(
            decision=raced.decision,
            group=self._name,
            shared={self.shared: raced.value},
            sums_us={str(value): round(sum_us, 3) for value, sum_us in sums_us(table).items()},
            best_us={member.name: best_us(table, member.name) for member in self.members},
            seconds={WALL: round(wall_s, 3)},
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            members=parts,
            path=self.path,
        )
