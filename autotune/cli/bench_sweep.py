"""``bench sweep`` compares the default search with measuring everything, on this GPU."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune.api import Problems
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.flags.problem import ProblemFlags
from autotune.cli.flags.run import DEFAULT_TRIALS
from autotune.contract import Problem
from autotune.contract.converter import to_json
from autotune.contract.registry import absolute, load
from autotune.contract.source import AUTO
from autotune.contract.space import Space
from autotune.environment import cuda_available, current_environment, current_gpu
from autotune.errors import InputError
from autotune.measure.recording_writer import NewRecording
from autotune.measure.settings import MeasureSettings
from autotune.measure.task import Task
from autotune.report.tables import show, table
from autotune.study import creation
from autotune.study.describe import Request, timed_kernel
from autotune.untrusted.printing import say

if TYPE_CHECKING:
    from autotune.bench.sweep import SweepReport  # needs torch

_PARTS = ("wall", "compile_wait", "measure", "search", "finalists")


@dataclass(frozen=True)
class SweepFlags:
    """The flags of `bench sweep`, besides the problem."""

    space: str | None = None
    trials: int = DEFAULT_TRIALS
    seed: int = 0
    source: str = AUTO
    allow_unknown_server: bool = False
    save_recording: Path | None = None


@click.command("sweep", cls=FlagCommand, short_help="Search and sweep a space on this GPU: time saved, regret.")
@takes_flags
def sweep(problem: ProblemFlags, flags: SweepFlags, as_json: bool = False) -> None:
    """Search a space and sweep it, on this GPU: how much time is saved, and is anything lost?

    Both begin with an empty compile cache. Nothing is stored, unless --save-recording keeps the sweep for replays.
    Takes minutes for a few thousand configs.
    """
    wanted = problem.read()
    if not cuda_available():
        raise InputError(
            "bench sweep: no CUDA GPU here; run it on a machine with one, or compare searches on recordings with bench "
            "search"
        )
    request = Request(
        wanted.kernel, backend="cuda", source=flags.source, allow_unknown_server=flags.allow_unknown_server
    )
    gpu, shape, timed = current_gpu(), _single(wanted, request), timed_kernel(request)
    kernel = load(timed)
    space = Space.build(kernel, shape, gpu, flags.space or kernel.spaces[0])
    folder = flags.save_recording
    record = NewRecording.of(folder, kernel, shape, current_environment()) if folder else None
    import optuna

    from autotune.bench.sweep import run  # needs torch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    report = run(Task(absolute(timed), shape, gpu, MeasureSettings()), space, flags.trials, flags.seed, record)
    if as_json:
        say(json.dumps(to_json(report), indent=1))
    else:
        _show(report, f"{kernel.name} on {gpu.name}, {len(space)} configs")


def _single(wanted: Problems, request: Request) -> Problem:
    """Returns the problem that was asked for; several are refused."""
    problems = creation.problems_to_time(request, wanted.values, wanted.m_values)
    if len(problems) != 1:
        raise InputError(
            f"bench sweep: got {len(problems)} problems, allowed: one at a time; give --batch-size, or a single one of "
            "--m-values or --chunk-sizes"
        )
    return problems[0]


def _show(report: SweepReport, title: str) -> None:
    rows = [
        (name, contest.measured, *(f"{contest.seconds.get(part, 0):.1f}" for part in _PARTS))
        for name, contest in (("search", report.search), ("sweep", report.sweep))
    ]
    show(table(title, ("", "measured", *(f"{part} s" for part in _PARTS)), rows))
    over = report.race.winner_over_fastest
    won = f"takes {over:.4f} of the time of the fastest of it and the sweep's best eight" if over else ""
    fast = f"The search is {report.times_faster:.1f} times as fast as the sweep"
    say(f"{fast}; its winner {won or 'failed on fresh inputs'}.")
