"""``bench sweep``: the default search against measuring everything, on this GPU."""

from __future__ import annotations

import json
from typing import Any

import click

from autotune.cli.options import DEFAULT_TRIALS, ProblemFlags, json_option, problem_options
from autotune.contract.registry import absolute, load
from autotune.contract.space import Space
from autotune.environment import current_gpu
from autotune.errors import InputError
from autotune.measure.settings import MeasureSettings
from autotune.measure.task import Task
from autotune.report.tables import show, table
from autotune.study import creation


@click.command("sweep", short_help="Search and sweep a space on this GPU: time saved, regret.")
@problem_options
@click.option("--space", help="Space preset of the kernel.  [default: wide]")
@click.option("--trials", type=click.IntRange(min=1), default=DEFAULT_TRIALS, show_default=True, help="For the search.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the search.")
@json_option
def sweep(**options: Any) -> None:
    """Search a space and sweep it, on this GPU: how much time is saved, and is anything lost?

    Both begin with an empty compile cache. Nothing is stored. Takes minutes for a few thousand configs.
    """
    flags = ProblemFlags.take(options)
    gpu = current_gpu()
    problems = creation.problems(flags.kernel, flags.values, flags.m_values)
    if len(problems) != 1:
        raise InputError(
            f"bench sweep: got {len(problems)} problems, allowed: one at a time; give --batch-size, or a single one of "
            "--m-values or --chunk-sizes"
        )
    kernel = load(flags.kernel)
    space = Space.build(kernel, problems[0], gpu, options["space"] or kernel.spaces[0])
    from autotune.bench.sweep import run  # needs torch

    task = Task(absolute(flags.kernel), problems[0], gpu, MeasureSettings())
    report = run(task, space, options["trials"], options["seed"])
    if options["as_json"]:
        click.echo(json.dumps(report, indent=1))
        return
    rows = [
        (name, report[name]["measured"], *(f"{report[name]['seconds'].get(part, 0):.1f}" for part in _PARTS))
        for name in ("search", "sweep")
    ]
    show(table(f"{gpu.name}, {len(space)} configs", ("", "measured", *(f"{part} s" for part in _PARTS)), rows))
    click.echo(
        f"{report['times_faster']:.1f} times less wall time; the search's winner takes "
        f"{report['race']['winner_over_fastest']:.4f} of the time of the fastest of it and the sweep's best eight."
    )


_PARTS = ("wall", "compile_wait", "measure", "search", "finalists")
