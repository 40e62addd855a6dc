"""Runs studies from where they stand to their results."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from optuna.storages import BaseStorage

from autotune.report.note import write_note
from autotune.run.head_to_head import HEAD_TO_HEADS_S, HeadToHeads
from autotune.run.meetings import expected, meetings
from autotune.run.options import Budget, RunOptions
from autotune.run.progress import Progress
from autotune.run.queue import StudyQueue, Turn, Watcher, turn_runner, turns_of
from autotune.run.races import RACES_S, RaceQueue
from autotune.run.runner import Runner
from autotune.study import studies
from autotune.study.result import GroupResult, StudyResult
from autotune.study.study import KernelStudy

_SHARE = 0.2
"""Of a run's time, at most, goes to races, and as much to what is timed against each other."""


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

    What another process runs is passed by, and come back to in the end: several runs share the work.

    Where both a server's kernel and ours of a call are finished, they are timed against each other in the end.

    Args:
        budget: Trials of each study, and seconds of the whole run.
        watcher: Is told how the run goes; one that raises KeyboardInterrupt stops it.
        worth: What a microsecond less is worth, by study, as `autotune.api.worth` tells of a plan; 1 where it is not
            said. Time that some studies leave goes where most is to be gained.
        raced: Names of studies that only race what the sizes beside theirs run, as `autotune.api.raced` tells
            of a plan: they run behind the others, for two minutes at most.

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
    races_s, meetings_s = _share_s(budget, RACES_S, races), _share_s(budget, HEAD_TO_HEADS_S, expected(chosen))
    if budget.timeout_s is not None:
        budget = replace(budget, timeout_s=budget.timeout_s - races_s - meetings_s)
    with Runner(storage, options, on_finished=write_note) as runner:
        queue = StudyQueue(turn_runner(runner), watcher, budget, worth)
        queue.run([turn for turn in unfinished if turn not in races])
        last = RaceQueue(runner, watcher)
        last.run(races, races_s)
        met = HeadToHeads(runner, watcher)
        met.run(chosen, meetings_s)
    return queue.failures + last.failures + met.failures


def has_due(chosen: Sequence[KernelStudy]) -> bool:
    """Tells whether finished studies of a server's kernel and of ours have yet to be timed against each other."""
    return any(meeting.is_due for apart in (False, True) for meeting in meetings(chosen, apart=apart))


def _share_s(budget: Budget, longest_s: float, items: object) -> float:
    """Returns how long something may take that comes behind the searches; no time where there is none of it."""
    if not items:
        return 0.0
    return longest_s if budget.timeout_s is None else min(longest_s, _SHARE * budget.timeout_s)
