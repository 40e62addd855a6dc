"""Running a list of studies with a live display: what `study run` and `tune` have in common."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import click
from optuna.storages import BaseStorage

from autotune import servers
from autotune.cli.flags.run import RunFlags
from autotune.cli.progress import RunDisplay
from autotune.environment import driver_installed
from autotune.errors import AutotuneError, InputError
from autotune.report.groups import group_line
from autotune.report.note import write_note
from autotune.report.results import before_after, result_line, time_line
from autotune.report.tables import show
from autotune.run.runner import OnProgress, Progress, Runner
from autotune.study import studies
from autotune.study.serving import serving_notes
from autotune.study.study import KernelStudy

_LEAST_TURN_S = 3.0
"""Less is not worth another race of finalists."""


def load_ahead(backend: str) -> None:
    """Begin to load what the processes that measure need, beside all that comes before the first study."""
    if backend in ("auto", "cuda") and driver_installed():
        from autotune.measure.processes import start_server  # needs torch, which replays do not

        start_server()


def run_studies(
    storage: BaseStorage, names: list[str], flags: RunFlags, worth: Mapping[str, float] | None = None
) -> None:
    """Run the studies in turn; Ctrl-C keeps what was measured.

    Time is shared evenly among those still to come. What is left in the end goes to those that it was too short for,
    to the one first that may save most.

    Args:
        worth: What a microsecond less is worth, by study; 1 where it is not said.

    Raises:
        AutotuneError: At the end, if studies failed; the others have run all the same.
    """
    chosen = studies.whole_groups(storage, [studies.load(storage, name) for name in names])
    say_if_replayed(chosen)
    options, start_s = flags.options, time.monotonic()
    deadline_s = None if flags.timeout is None else time.monotonic() + flags.timeout
    with (
        _ctrl_c() as check_ctrl_c,
        Runner(storage, options, write_note) as runner,
        RunDisplay(len(chosen), options.budget.trials, flags.timeout) as display,
    ):
        turns = _Turns(runner, display, check_ctrl_c)
        left = len(chosen)
        order = studies.by_group(chosen)
        for together, following in zip(order, [*order[1:], []], strict=True):
            time_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic()) * len(together) / left
            left -= len(together)
            turns.take(together, time_s, len(together), following)
        while deadline_s is not None and (item := turns.most_to_gain(worth or {})) is not None:
            if (time_s := (deadline_s - time.monotonic()) / len(turns.short_of_time)) < _LEAST_TURN_S:
                break
            item.reopen()
            turns.take([item], time_s, 0)
    timed = [item for item in chosen if item.result and item.spec.backend != "replay"]
    if timed:
        click.echo(time_line(timed, time.monotonic() - start_s), err=True)
    if turns.failed:
        raise AutotuneError("; ".join(turns.failed))


class _Turns:
    """Runs one study, or group, after the other.

    Attributes:
        failed: Messages of those that failed.
        short_of_time: Those whose search the time was too short for, and the share of their time that it may yet save.
    """

    def __init__(self, runner: Runner, display: RunDisplay, check_ctrl_c: Callable[[], None]) -> None:
        self.failed: list[str] = []
        self.short_of_time: dict[str, tuple[KernelStudy, float]] = {}
        self._runner = runner
        self._display = display
        self._check_ctrl_c = check_ctrl_c
        self._gain_left: float | None = None

    def take(
        self, together: list[KernelStudy], time_s: float | None, count: int, following: Sequence[KernelStudy] = ()
    ) -> None:
        """Run a study, or the members of a group, for so long; `count` is how many that finishes."""
        options, item = self._runner.options, together[0]
        self._runner.options = replace(options, budget=replace(options.budget, timeout_s=time_s))
        name = item.spec.group or item.name
        self._display.start_study(name)
        self._gain_left = None
        self.short_of_time.pop(item.name, None)
        try:
            self._check_ctrl_c()
            self._display.finish_study(_run(self._runner, together, self._on_progress, following), count)
        except InputError:
            raise
        except AutotuneError as error:
            self.failed.append(str(error))
            self._display.finish_study(f"{name}: failed", count)
        except KeyboardInterrupt:
            raise AutotuneError(f"stopped in {name}; nothing measured is lost: study run goes on from here") from None
        else:
            self._note(item, time_s)

    def most_to_gain(self, worth: Mapping[str, float]) -> KernelStudy | None:
        """Of those short of time, the one with the most microseconds to save, weighted by their worth."""

        def gain(found: tuple[KernelStudy, float]) -> float:
            item, share = found
            tuned_us = result.decision.tuned_us if (result := item.result) else 0.0
            return share * tuned_us * worth.get(item.name, 1.0)

        return max(self.short_of_time.values(), key=gain)[0] if self.short_of_time else None

    def _note(self, item: KernelStudy, time_s: float | None) -> None:
        if time_s is None or not self._gain_left or item.spec.group is not None:
            return
        if (result := item.result) and result.wall_s >= time_s:
            self.short_of_time[item.name] = (item, self._gain_left)

    def _on_progress(self, progress: Progress) -> None:
        self._display.update(progress)
        self._gain_left = progress.gain_left
        self._check_ctrl_c()


def _run(runner: Runner, together: list[KernelStudy], on_progress: OnProgress, following: Sequence[KernelStudy]) -> str:
    """Run a study, or the members of a group; returns the result in a line."""
    first_following = next(iter(following), None)
    if together[0].spec.group is None:
        result = runner.run(together[0], on_progress, first_following)
        return result_line(together[0].name, result.decision)
    from autotune.run.group_runner import GroupRunner  # loads scikit-learn, which takes a second

    return group_line(GroupRunner(runner).run(together, on_progress, first_following))


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
    for line in servers.advice(item.call for item in finished):
        click.echo(f"Mind: {line}", err=True)


def say_if_replayed(studies: list[KernelStudy]) -> None:
    """One plain line where times are not of this machine."""
    if gpus := sorted({item.spec.gpu.name for item in studies if item.spec.backend == "replay"}):
        click.echo(f"Replay: the times below are recordings of {', '.join(gpus)}, not of this machine.", err=True)
