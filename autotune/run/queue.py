"""Runs studies and groups in turn, and shares a run's time among them.

Each gets what a study takes at least, and of the rest a share by its worth. Where time is too short for all, those that
are worth most have it, and the others none: a study of which hardly more than the default is measured is time lost.
What is left in the end goes to those whose share was too short, first to the one that may save most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from autotune.errors import AutotuneError, HeldError, InputError, StorageError
from autotune.run.clock import Deadline
from autotune.run.options import BEGUN, LEAST_SEARCH_S, Budget
from autotune.run.progress import OnProgress, Progress
from autotune.run.runner import Runner
from autotune.run.stopping import told_where
from autotune.study.grouping import by_group
from autotune.study.result import GroupResult, StudyResult
from autotune.study.study import KernelStudy

LEAST_TURN_S = 3.0
"""Less is not worth another race of finalists."""

MOST_OF_REST = 0.5
"""Of the time that is left, the most that a search takes to begin where others wait, unless its share is larger."""

LOOK_S = 1.0
"""How often a run looks at what others hold, when nothing else is left to do."""

Result = StudyResult | GroupResult


@dataclass(frozen=True)
class Turn:
    """What is run and decided together: one study, or all of a group."""

    studies: Sequence[KernelStudy]

    @property
    def group(self) -> str | None:
        return self.studies[0].spec.group

    @property
    def name(self) -> str:
        """The group's name, or the study's."""
        return self.group or self.studies[0].name


class TurnRunner(Protocol):
    """Runs the studies of a turn to their result."""

    def __call__(
        self, turn: Turn, budget: Budget, on_progress: OnProgress, following: KernelStudy | None
    ) -> Result: ...


class Watcher(Protocol):
    """Is told how a run goes, and stops it where it raises KeyboardInterrupt."""

    def on_start(self, turn: Turn) -> None: ...

    def on_progress(self, progress: Progress) -> None: ...

    def on_result(self, turn: Turn, result: Result) -> None:
        """Hears that a turn has ended; one that had another before may end once more."""
        ...

    def on_failure(self, turn: Turn) -> None: ...

    def on_held(self, turn: Turn, why: str) -> None:
        """Hears, once a turn, that another process is at it; it is come back to."""
        ...


def turns_of(chosen: Sequence[KernelStudy]) -> list[Turn]:
    """Sorts studies by what is run together."""
    return [Turn(together) for together in by_group(chosen)]


def turn_runner(runner: Runner) -> TurnRunner:
    """Runs studies with a runner, and groups with its means."""

    def run(turn: Turn, budget: Budget, on_progress: OnProgress, following: KernelStudy | None) -> Result:
        if turn.group is None:
            return runner.run(turn.studies[0], budget, on_progress, following)
        from autotune.run.group_runner import GroupRunner  # loads the model

        return GroupRunner(runner).run(turn.studies, budget, on_progress, following)

    return run


@dataclass(frozen=True)
class _HeldTurn:
    """A turn that another process is at."""

    turn: Turn
    why: str


@dataclass(frozen=True)
class _Unfinished:
    """A study that its time was too short for.

    Attributes:
        gain: What part of its time more search may save, times what it is worth.
    """

    turn: Turn
    gain: float


class StudyQueue:
    """Takes turns one after the other, each once, and then again those that may gain most.

    What another process runs is skipped, and tried again at the end, until it is finished here or there: several
    runs of the same studies share the work.

    Args:
        budget: Trials of each study, and seconds of the whole run.
        worth: What each study's search is worth; 1 where it is not said.
        now_s: Tells the time.
        sleep: Waits for so many seconds.

    Attributes:
        failures: Messages of the turns that failed, or that others held until the end; the others have run.
        unsearched: The turns that found no time, or too little for their search to begin.
    """

    def __init__(
        self,
        run_turn: TurnRunner,
        watcher: Watcher,
        budget: Budget,
        worth: Mapping[str, float] | None = None,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.failures: list[str] = []
        self.unsearched: list[Turn] = []
        self._run_turn = run_turn
        self._watcher = watcher
        self._budget = budget
        self._worth = worth or {}
        self._now_s = now_s
        self._sleep = sleep
        self._cut_off: set[str] = set()
        self._unfinished: dict[str, _Unfinished] = {}
        self._held: dict[str, _HeldTurn] = {}

    def run(self, turns: Sequence[Turn]) -> None:
        """Takes all turns that there is time for, those that are worth most where there is not enough.

        Raises:
            InputError: If a study cannot go on here.
            StorageError: If the storage failed or is gone.
            AutotuneError: If it was stopped.
        """
        deadline = Deadline(self._budget.timeout_s, self._now_s)
        self._take_all(turns, deadline, at_least_one=True)
        self._finish(deadline)

    def go_on(self, time_s: float | None) -> None:
        """Gives more time to what found too little, first to the searches that have not begun."""
        self._finish(Deadline(time_s, self._now_s))

    def _finish(self, deadline: Deadline) -> None:
        """Takes once more what has found too little time, and what others held."""
        self._take_held(deadline)
        turns, self.unsearched = self.unsearched, []
        self._take_all(turns, deadline)
        self._take_again(deadline)
        self._take_held(deadline)

    def _take_all(self, turns: Sequence[Turn], deadline: Deadline, *, at_least_one: bool = False) -> None:
        """Takes the turns in their order, but those that there is no time for."""
        waiting = list(turns)
        while coming := self._affordable(waiting, deadline.left_s, at_least_one and len(waiting) == len(turns)):
            turn, following = coming[0], coming[1] if len(coming) > 1 else None
            waiting.remove(turn)
            left_s = deadline.left_s
            share_s = None if left_s is None else self._share_s(coming, left_s)
            self._take(turn, left_s, share_s, following.studies[0] if following else None)
        self.unsearched += waiting

    def _affordable(self, turns: Sequence[Turn], left_s: float | None, at_least_one: bool) -> list[Turn]:
        """Returns the turns that time is left for: all in their order, or those that are worth most, these first."""
        if left_s is None:
            return list(turns)
        chosen: list[Turn] = []
        for turn in sorted(turns, key=lambda turn: -self._worth_of(turn)):
            needed_s = LEAST_SEARCH_S * sum(len(each.studies) for each in (*chosen, turn))
            if needed_s <= left_s or (at_least_one and not chosen):
                chosen.append(turn)
        return list(turns) if len(chosen) == len(turns) else chosen

    def _share_s(self, coming: Sequence[Turn], left_s: float) -> float:
        """Returns what the first turn gets, by its worth, of the time that none of them needs at least."""
        spare_s = left_s - LEAST_SEARCH_S * sum(len(turn.studies) for turn in coming)
        parts = [self._worth_of(turn) * len(turn.studies) for turn in coming]
        return max(0.0, spare_s) * parts[0] / (sum(parts) or 1.0)

    def _worth_of(self, turn: Turn) -> float:
        """Returns what a search of the turn is worth, on average: each takes as long."""
        return sum(self._worth.get(study.name, 1.0) for study in turn.studies) / len(turn.studies)

    def _take_held(self, deadline: Deadline) -> None:
        """Comes back to what others hold, until nobody holds any or time is up."""
        while self._held:
            before, held = len(self._held), list(self._held.values())
            for each in held:
                left_s = deadline.left_s
                self._take(each.turn, left_s, None if left_s is None else left_s / len(held), None)
            if deadline.left_s == 0:
                self.failures += [each.why for each in self._held.values()]
                self._held.clear()
            elif len(self._held) == before:
                self._sleep(LOOK_S)

    def _take_again(self, deadline: Deadline) -> None:
        """Gives what time is left to the unfinished."""
        while self._unfinished:
            left_s = deadline.left_s
            if left_s is None or (share_s := left_s / len(self._unfinished)) < LEAST_TURN_S:
                return
            turn = max(self._unfinished.values(), key=lambda unfinished: unfinished.gain).turn
            self._take(turn, left_s, share_s - LEAST_SEARCH_S, None)

    def _take(self, turn: Turn, left_s: float | None, share_s: float | None, following: KernelStudy | None) -> None:
        """Runs a turn for its share of what is left and notes whether that was too short."""
        longest_s = left_s
        if left_s is not None and share_s is not None:
            least_s = LEAST_SEARCH_S * len(turn.studies)
            longest_s = min(left_s, max(least_s + share_s, MOST_OF_REST * left_s))
        with told_where(turn.name):
            self._sort(turn, replace(self._budget, timeout_s=longest_s, share_s=share_s), following)

    def _sort(self, turn: Turn, budget: Budget, following: KernelStudy | None) -> None:
        """Runs a turn and sorts what came of it."""
        last: Progress | None = None

        def on_progress(progress: Progress) -> None:
            nonlocal last
            last = progress
            self._watcher.on_progress(progress)

        try:
            self._watcher.on_start(turn)
            self._reopen(turn)
            result = self._run_turn(turn, budget, on_progress, following)
            self._watcher.on_result(turn, result)
        except (InputError, StorageError):
            raise
        except HeldError as error:
            if turn.name not in self._held:
                self._watcher.on_held(turn, str(error))
            self._held[turn.name] = _HeldTurn(turn, str(error))
            return
        except AutotuneError as error:
            self._held.pop(turn.name, None)
            self.failures.append(str(error))
            self._watcher.on_failure(turn)
        else:
            self._held.pop(turn.name, None)
            if last is not None and last.out_of_time and isinstance(result, StudyResult):
                self._note(turn, last, result)

    def _reopen(self, turn: Turn) -> None:
        """Takes back what this queue itself has finished too early."""
        if self._unfinished.pop(turn.name, None) is not None or turn.name in self._cut_off:
            self._cut_off.discard(turn.name)
            for study in turn.studies:
                study.reopen()

    def _note(self, turn: Turn, last: Progress, result: StudyResult) -> None:
        """Notes a study whose time was too short."""
        if last.measured < BEGUN:
            self._cut_off.add(turn.name)
            self.unsearched.append(turn)
        elif last.gain_left:
            self._unfinished[turn.name] = _Unfinished(turn, last.gain_left * self._worth_of(turn))
