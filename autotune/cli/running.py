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
from autotune.report.results import result_line
from autotune.run import Progress, Runner, RunOptions
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
    studies = [study.load(storage, name) for name in names]
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

        for position, item in enumerate(studies):
            if deadline_s is not None:
                share_s = max(0.0, deadline_s - time.monotonic()) / (len(studies) - position)
                runner.options = replace(options, budget=replace(options.budget, timeout_s=share_s))
            display.start_study(item.name)
            try:
                check_ctrl_c()
                display.finish_study(result_line(item.name, runner.run(item, on_progress)))
            except InputError:
                raise
            except AutotuneError as error:
                failed.append(str(error))
                display.finish_study(f"{item.name}: failed")
            except KeyboardInterrupt:
                raise AutotuneError(
                    f"stopped in {item.name}; nothing measured is lost: study run goes on from here"
                ) from None
    if failed:
        raise AutotuneError("; ".join(failed))


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
