"""Shows running studies live on stderr, and in plain lines where that is no terminal."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from autotune.cli.messages import shows_progress, step, tell
from autotune.report.dimensions import label
from autotune.report.groups import group_line
from autotune.report.results import failures, measured, result_line
from autotune.report.tables import us
from autotune.run.options import Budget
from autotune.run.progress import Progress as StudyProgress
from autotune.run.queue import Turn
from autotune.study.result import GroupResult, StudyResult
from autotune.untrusted.printing import cell, printable

_WIDE = 120
"""Columns of a terminal from which a study's whole name has room."""


class RunDisplay:
    """One line for the run as a whole, one for the turn that is on.

    Args:
        studies: How many will be run.
        check: Called at every step; what it raises stops the run.
    """

    def __init__(self, studies: int, budget: Budget, check: Callable[[], None]) -> None:
        self._console = Console(stderr=True)
        self._trials, self._more = budget.trials, budget.more
        self._before: int | None = None
        self._check = check
        narrow = self._console.width < _WIDE
        self._live = Progress(
            TextColumn("{task.description}", markup=False, table_column=_cut(max_width=24 if narrow else 56)),
            BarColumn(bar_width=12 if narrow else 24),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[state]}", markup=False, table_column=_cut(ratio=1)),
            console=self._console,
            disable=not (self._console.is_terminal and shows_progress()),
            transient=True,
            expand=True,
        )
        limit = f"at most {budget.timeout_s:.4g} s" if budget.timeout_s is not None else ""
        self._run_task = self._live.add_task("studies", total=studies, state=limit)
        self._turn_task: TaskID | None = None
        self._labels: dict[str, str] = {}
        self._ended: set[str] = set()

    def __enter__(self) -> RunDisplay:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def on_start(self, turn: Turn) -> None:
        if self._turn_task is not None:
            self._live.remove_task(self._turn_task)
        self._before = None
        self._labels = {study.name: printable(label(study.spec)) for study in turn.studies}
        step(f"{turn.name}: begins", self._print)
        first = next(iter(self._labels.values()))
        self._turn_task = self._live.add_task(first, total=self._trials, state="")
        self._check()

    def on_progress(self, progress: StudyProgress) -> None:
        if self._turn_task is not None:
            self._live.update(
                self._turn_task,
                description=self._labels.get(progress.study, printable(progress.study)),
                completed=measured(progress.counts),
                total=self._total(progress),
                state=_state(progress),
            )
        step(f"{progress.study}: {measured(progress.counts)} measured, {_state(progress)}", self._print)
        self._check()

    def _total(self, progress: StudyProgress) -> int:
        if self._more is None:
            return min(self._trials, progress.space_size)
        if self._before is None:
            self._before = measured(progress.counts)
        return min(self._before + self._more, progress.space_size)

    def on_result(self, turn: Turn, result: StudyResult | GroupResult) -> None:
        if isinstance(result, GroupResult):
            self._end(turn, group_line(result))
        else:
            self._end(turn, result_line(turn.name, result))

    def on_failure(self, turn: Turn) -> None:
        self._end(turn, f"{turn.name}: failed")

    def on_held(self, turn: Turn, why: str) -> None:
        tell(f"{why}; coming back to it", self._print)

    def _end(self, turn: Turn, line: str) -> None:
        """Prints how a turn ended; one taken again counts once."""
        if turn.name not in self._ended:
            self._ended.add(turn.name)
            self._live.advance(self._run_task, len(turn.studies))
        tell(line, self._print)

    def _print(self, line: str) -> None:
        self._console.print(cell(line), highlight=False, soft_wrap=True)


def _cut(max_width: int | None = None, ratio: int | None = None) -> Column:
    """Makes a column whose text is cut where there is no room for all of it."""
    return Column(no_wrap=True, overflow="ellipsis", max_width=max_width, ratio=ratio)


def _state(progress: StudyProgress) -> str:
    if progress.stage == "finalists":
        return "finalists against the default"
    parts = [f"best {us(progress.best_us)} us"]
    if progress.best_us and progress.incumbent_us:
        parts.append(f"{progress.incumbent_us / progress.best_us:.2f}x the default")
    if failed := failures(progress.counts):
        parts.append(f"{failed} failed")
    if progress.gain_left is not None:
        parts.append(f"about {progress.gain_left:.1%} left")
    return ", ".join(parts)
