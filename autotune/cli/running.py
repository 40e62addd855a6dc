"""Running a list of studies with a live display: what `study run` and `tune` have in common."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import click
from optuna.storages import BaseStorage

from autotune import runtimes, study
from autotune.cli.options import DEFAULT_TRIALS
from autotune.cli.progress import RunDisplay
from autotune.errors import AutotuneError, InputError
from autotune.report.groups import group_line
from autotune.report.results import before_after, result_line
from autotune.report.serving import serving_notes
from autotune.report.tables import show
from autotune.run import OnProgress, Progress, Runner, RunOptions
from autotune.study import KernelStudy
from autotune.tune import Budget

_RUN_FLAGS = ("trials", "timeout", "sampler", "stop", "seed", "allow_env_change")


@dataclass(frozen=True)
class RunFlags:
    """The flags of a run, as given."""

    storage: str
    trials: int | None
    timeout: float | None
    sampler: str
    stop: str
    seed: int
    backend: str
    recorded: Path
    allow_env_change: bool

    @classmethod
    def take(cls, options: dict[str, Any]) -> RunFlags:
        """Take this group's flags out of a command's options; `storage`, `backend` and `recorded` stay there."""
        kept = {name: options[name] for name in ("storage", "backend", "recorded")}
        taken = {name: options.pop(name) for name in _RUN_FLAGS}
        return cls(**kept, **taken)

    @property
    def options(self) -> RunOptions:
        return RunOptions(
            storage_url=self.storage,
            budget=Budget(self.trials or DEFAULT_TRIALS, self.timeout),
            backend=self.backend,
            sampler=self.sampler,
            stop=self.stop,
            seed=self.seed,
            allow_env_change=self.allow_env_change,
            recorded_dir=self.recorded,
        )


def run_studies(storage: BaseStorage, names: list[str], flags: RunFlags) -> None:
    """Run the studies in turn. Time is shared evenly among those still to come; Ctrl-C keeps what was measured.

    Raises:
        AutotuneError: At the end, if studies failed; the others have run all the same.
    """
    studies = study.whole_groups(storage, [study.load(storage, name) for name in names])
    say_if_replayed(studies)
    options = flags.options
    deadline_s = None if flags.timeout is None else time.monotonic() + flags.timeout
    failed: list[str] = []
    with (
        _ctrl_c() as check_ctrl_c,
        Runner(storage, options) as runner,
        RunDisplay(len(studies), options.budget.trials, flags.timeout) as display,
    ):

        def on_progress(progress: Progress) -> None:
            display.update(progress)
            check_ctrl_c()

        left = len(studies)
        for together in study.by_group(studies):
            if deadline_s is not None:
                share_s = max(0.0, deadline_s - time.monotonic()) * len(together) / left
                runner.options = replace(options, budget=replace(options.budget, timeout_s=share_s))
            left -= len(together)
            item = together[0]
            display.start_study(item.spec.group or item.name)
            try:
                check_ctrl_c()
                display.finish_study(_run(runner, together, on_progress), len(together))
            except InputError:
                raise
            except AutotuneError as error:
                failed.append(str(error))
                display.finish_study(f"{item.spec.group or item.name}: failed", len(together))
            except KeyboardInterrupt:
                raise AutotuneError(
                    f"stopped in {item.spec.group or item.name}; nothing measured is lost: study run goes on from here"
                ) from None
    if failed:
        raise AutotuneError("; ".join(failed))


def _run(runner: Runner, together: list[KernelStudy], on_progress: OnProgress) -> str:
    """Run a study, or the members of a group; returns the result in a line."""
    if together[0].spec.group is None:
        return result_line(together[0].name, runner.run(together[0], on_progress))
    from autotune.group_run import GroupRunner  # loads scikit-learn, which takes a second

    return group_line(GroupRunner(runner).run(together, on_progress))


def show_results(finished: list[KernelStudy]) -> None:
    """Before and after, and what a server makes of it."""
    show(before_after(finished))
    for note in serving_notes(finished):
        click.echo(note)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], None]]:
    """Gives a function that raises KeyboardInterrupt once Ctrl-C was pressed; pressed again, it is raised at once.

    Raised anywhere, it is lost where Python is finalising an object: one Ctrl-C in twenty went unheard.
    """
    presses = 0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        if presses > 1:
            raise KeyboardInterrupt

    def check() -> None:
        if presses:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def say_advice(finished: list[KernelStudy]) -> None:
    """What the servers' users should know who serve with these results."""
    for line in runtimes.advice(item.call for item in finished):
        click.echo(f"Mind: {line}", err=True)


def say_if_replayed(studies: list[KernelStudy]) -> None:
    """One plain line where times are not of this machine."""
    if gpus := sorted({item.spec.gpu["name"] for item in studies if item.spec.backend == "replay"}):
        click.echo(f"Replay: the times below are recordings of {', '.join(gpus)}, not of this machine.", err=True)
