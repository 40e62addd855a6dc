"""Runs studies from where they stand to their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.storages import BaseStorage

from autotune.report.note import write_note
from autotune.run.options import Budget, RunOptions
from autotune.run.progress import Progress
from autotune.run.queue import StudyQueue, Turn, Watcher, turn_runner, turns_of
from autotune.run.runner import Runner
from autotune.study import studies
from autotune.study.result import GroupResult, StudyResult
from autotune.study.study import KernelStudy


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
) -> list[str]:
    """Runs studies, and all of their groups, in turn; what is finished stays as it is.

    What another process runs is passed by, and come back to in the end: several runs share the work.

    Args:
        budget: Trials of each study, and seconds of the whole run.
        watcher: Is told how the run goes; one that raises KeyboardInterrupt stops it.
        worth: What a microsecond less is worth, by study, as `autotune.api.worth` tells of a plan; 1 where it is not
            said. Time that some studies leave goes where most is to be gained.

    Returns:
        A message for each study that failed, or that another process still runs when time is up; the others have run.

    Raises:
        InputError: If a study cannot go on here.
        AutotuneError: If the run was stopped; nothing measured is lost.
    """
    turns = turns_of(studies.whole_groups(storage, chosen))
    unfinished = [turn for turn in turns if any(study.result is None for study in turn.studies)]
    if not unfinished:
        return []
    with Runner(storage, options, on_finished=write_note) as runner:
        queue = StudyQueue(turn_runner(runner), watcher or _Unwatched(), budget, worth)
        queue.run(unfinished)
    return queue.failures
