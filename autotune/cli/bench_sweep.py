"""``bench sweep``: the default search against measuring everything, on this GPU."""

from __future__ import annotations

import json
from pathlib import Path

import click

from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.flags.problem import ProblemFlags
from autotune.cli.flags.run import DEFAULT_TRIALS
from autotune.contract.converter import to_json
from autotune.contract.registry import absolute, load
from autotune.contract.source import AUTO
from autotune.contract.space import Space
from autotune.environment import current_environment, current_gpu
from autotune.errors import InputError
from autotune.measure.recording_writer import NewRecording
from autotune.measure.settings import MeasureSettings
from autotune.measure.task import Task
from autotune.report.tables import show, table
from autotune.study import creation
from autotune.study.sources import reference
from autotune.untrusted.printing import say

_PARTS = ("wall", "compile_wait", "measure", "search", "finalists")


@click.command("sweep", cls=FlagCommand, short_help="Search and sweep a space on this GPU: time saved, regret.")
@takes_flags
def sweep(
    problem: ProblemFlags,
    space: str | None = None,
    trials: int = DEFAULT_TRIALS,
    seed: int = 0,
    source: str = AUTO,
    allow_unknown_server: bool = False,
    save_recording: Path | None = None,
    as_json: bool = False,
) -> None:
    """Search a space and sweep it, on this GPU: how much time is saved, and is anything lost?

    Both begin with an empty compile cache. Nothing is stored, unless --save-recording keeps the sweep for replays.
    Takes minutes for a few thousand configs.
    """
    wanted = problem.read()
    gpu = current_gpu()
    problems = creation.problems(wanted.kernel, wanted.values, wanted.m_values)
    if len(problems) != 1:
        raise InputError(
            f"bench sweep: got {len(problems)} problems, allowed: one at a time; give --batch-size, or a single one of "
            "--m-values or --chunk-sizes"
        )
    timed = reference(wanted.kernel, source, "cuda", allow_unknown_server)
    kernel = load(timed)
    built = Space.build(kernel, problems[0], gpu, space or kernel.spaces[0])
    environment = current_environment()
    record = NewRecording.of(save_recording, kernel, problems[0], environment) if save_recording else None
    import optuna

    from autotune.bench.sweep import run  # needs torch

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    task = Task(absolute(timed), problems[0], gpu, MeasureSettings())
    report = run(task, built, trials, seed, record)
    if as_json:
        say(json.dumps(to_json(report), indent=1))
        return
    contests = (("search", report.search), ("sweep", report.sweep))
    rows = [
        (name, contest.measured, *(f"{contest.seconds.get(part, 0):.1f}" for part in _PARTS))
        for name, contest in contests
    ]
    show(
        table(
            f"{kernel.name} on {gpu.name}, {len(built)} configs",
            ("", "measured", *(f"{part} s" for part in _PARTS)),
            rows,
        )
    )
    say(
        f"{report.times_faster:.1f} times less wall time; the search's winner takes "
        f"{report.race.winner_over_fastest:.4f} of the time of the fastest of it and the sweep's best eight."
    )
