"""Runs studies from where they stand to their results."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from optuna.storages import BaseStorage

from autotune.plan.work import RACE_S
from autotune.report.note import write_note
from autotune.run.clock import Deadline
from autotune.run.head_to_head import HEAD_TO_HEADS_S, HeadToHeads
from autotune.run.meetings import coming, meetings
from autotune.run.options import LEAST_SEARCH_S, Budget, RunOptions
from autotune.run.progress import Progress
from autotune.run.queue import StudyQueue, Turn, Watcher, turn_runner, turns_of
from autotune.run.races import RACES_S, RaceQueue
from autotune.run.runner import Runner
from autotune.study import studies
from autotune.study.result import GroupResult, StudyResult
from autotune.study.study import KernelStudy

_SHARE: Final = 0.2
"""Of a run's time, at most, goes to races, and as much to what is timed against each other."""

_MEETING_S: Final = 2.0
"""What it takes to time a kernel of ours against other ways to do its work: their inputs, and a race."""


class _Unwatched:
    """Ignores how a run goes."""

    def on_start(self, turn: Turn) -> None: ...

    def on_progress(self, progress: Progress) -> None: ...

    def on_result(self, turn: Turn, result: StudyResult | GroupResult) -> None: ...

    def on_failure(self, turn: Turn) -> None: ...

    def on_held(self, turn: Turn, why: str) -> None: ...


def run(
    storage: BaseStorage,
    chosen: Sequence[KernelStudy],
    options: RunOptions,
    budget: Budget,
    watcher: Watcher | None = None,
    worth: Mapping[str, float] | None = None,
    raced: Collection[str] = (),
) -> list[str]:
    """Runs studies, and all of their groups, in turn; what is finished stays as it is.

    What another process runs is skipped, and tried again at the end: several runs share the work.

    Where both a server's kernel and ours of a call are finished, they are timed against each other in the end.

    Args:
        budget: Trials of each study, and seconds of the whole run.
        watcher: Is told how the run goes; one that raises KeyboardInterrupt stops it.
        worth: What each study's search is worth, as `autotune.api.worth` tells of a plan; 1 where it is not said. Time
            that some studies leave goes where most is to be gained.
        raced: Names of studies that only race what the sizes beside theirs run, as `autotune.api.raced` tells
            of a plan: they run behind the others, for two minutes at most, and after every search that has found no
            time.

    Returns:
        A message for each study that failed, or that another process still runs when time is up; the others have run.

    Raises:
        InputError: If a study cannot go on here.
        AutotuneError: If the run was stopped; nothing measured is lost.
    """
    turns = turns_of(studies.whole_groups(storage, chosen))
    unfinished = [turn for turn in turns if any(study.result is None for study in turn.studies)]
    if not unfinished and not has_due(chosen):
        return []
    watcher = watcher or _Unwatched()
    races = [turn for turn in unfinished if turn.studies[0].name in raced]
    end = Deadline(budget.timeout_s)
    races_s = _share_s(budget, RACES_S, RACE_S * sum(len(turn.studies) for turn in races))
    meetings_s = _share_s(budget, HEAD_TO_HEADS_S, _MEETING_S * coming(chosen))
    with Runner(storage, options, on_finished=write_note) as runner:
        searches = replace(budget, timeout_s=_left_s(end, races_s + meetings_s))
        queue = StudyQueue(turn_runner(runner), watcher, searches, worth)
        queue.run([turn for turn in unfinished if turn not in races])
        # What is not to be timed against anything needs no time for it. A search comes before a race beside others.
        meetings_s = _share_s(budget, HEAD_TO_HEADS_S, _MEETING_S * coming(chosen))
        late_s = LEAST_SEARCH_S * sum(len(turn.studies) for turn in queue.unsearched)
        queue.go_on(_left_s(end, max(0.0, races_s - late_s) + meetings_s))
        last = RaceQueue(runner, watcher)
        last.run(races, _at_most(RACES_S, _left_s(end, meetings_s)))
        met = HeadToHeads(runner, watcher)
        met.run(chosen, _at_most(HEAD_TO_HEADS_S, end.left_s))
    return queue.failures + last.failures + met.failures


def has_due(chosen: Sequence[KernelStudy]) -> bool:
    """Tells whether finished studies of a server's kernel and of ours have yet to be timed against each other."""
    return any(meeting.is_due for apart in (False, True) for meeting in meetings(chosen, apart=apart))


def _share_s(budget: Budget, longest_s: float, needed_s: float) -> float:
    """Returns how much time is kept for what comes behind the searches."""
    return min(longest_s, needed_s, _SHARE * budget.timeout_s) if budget.timeout_s is not None else 0.0


def _left_s(end: Deadline, kept_s: float) -> float | None:
    """Returns the time that is left but for what is kept; None where there is no end."""
    return None if end.left_s is None else max(0.0, end.left_s - kept_s)


def _at_most(longest_s: float, left_s: float | None) -> float:
    return longest_s if left_s is None else min(longest_s, left_s)
