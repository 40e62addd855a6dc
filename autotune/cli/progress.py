"""The live display of running studies, on stderr; plain lines where that is no terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from autotune.report.results import failures, measured
from autotune.report.tables import us
from autotune.run.runner import Progress as StudyProgress


class RunDisplay:
    """One line for the run as a whole, one for the study being run."""

    def __init__(self, studies: int, trials: int, timeout_s: float | None) -> None:
        self._console = Console(stderr=True)
        self._trials = trials
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        limit = f"at most {timeout_s:g} s" if timeout_s is not None else ""
        self._run_task = self._live.add_task("studies", total=studies, state=limit)
        self._study_task: TaskID | None = None

    def __enter__(self) -> RunDisplay:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def start_study(self, name: str) -> None:
        if self._study_task is not None:
            self._live.remove_task(self._study_task)
        self._study_task = self._live.add_task(name, total=self._trials, state="")

    def update(self, progress: StudyProgress) -> None:
        if self._study_task is not None:
            total = min(self._trials, progress.space_size)
            self._live.update(
                self._study_task,
                description=progress.study,
                completed=measured(progress.counts),
                total=total,
                state=_state(progress),
            )

    def finish_study(self, line: str, studies: int = 1) -> None:
        self._live.advance(self._run_task, studies)
        self._console.print(line, highlight=False, soft_wrap=True)


def _state(progress: StudyProgress) -> str:
    if progress.phase == "finalists":
        return "finalists against the default"
    parts = [f"best {us(progress.best_us)} us"]
    if progress.best_us and progress.incumbent_us:
        parts.append(f"{progress.incumbent_us / progress.best_us:.2f}x the default")
    if failed := failures(progress.counts):
        parts.append(f"{failed} failed")
    if progress.gain_left is not None:
        parts.append(f"about {progress.gain_left:.1%} left")
    return ", ".join(parts)
