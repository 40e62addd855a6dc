"""``bench``: compare searches on recorded spaces."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from click.core import ParameterSource

from autotune.cli.options import flags
from autotune.errors import InputError
from autotune.measure import recording


@click.group()
def bench() -> None:
    """Compare searches."""


class _List(click.ParamType[tuple[str, ...]]):
    """Names with commas between."""

    name = "list"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(part.strip() for part in value.split(",") if part.strip())


_FLAGS = flags(
    click.option("--spaces", default="*", show_default=True, metavar="GLOB", help="Recorded spaces, by name."),
    click.option(
        "--recorded",
        type=click.Path(path_type=Path),
        default=recording.RECORDED_DIR,
        help="Folder of recorded spaces.  [default: the ones that come along]",
    ),
    click.option("--samplers", type=_List(), help="Samplers, with commas between.  [default: auto and every rival]"),
    click.option("--seeds", type=click.IntRange(min=1), default=20, show_default=True),
    click.option("--budgets", type=_List(), default="25,50,100", show_default=True, help="Evaluations."),
    click.option("--neighbour", is_flag=True, help="Give ours one finished neighbour: leave-one-out within a kernel."),
    click.option("--no-estimate", is_flag=True, help="Give ours nothing of what kernels expect of their configs."),
    click.option("--min-configs", type=click.IntRange(min=1), default=1, show_default=True, help="Leave out smaller."),
    click.option("--workers", type=click.IntRange(min=1), help="Number of processes.  [default: one a core]"),
    click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw the curves."),
    click.option("--json", "as_json", is_flag=True, help="Print a list of objects."),
)


@bench.command("search")
@_FLAGS
def search(
    spaces: str,
    recorded: Path,
    samplers: tuple[str, ...] | None,
    seeds: int,
    budgets: tuple[str, ...],
    neighbour: bool,
    no_estimate: bool,
    min_configs: int,
    workers: int | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Replay recorded spaces and compare searches.

    How near the best does each come, and how soon? Needs no GPU.
    An evaluation is a distinct config that is measured; compile failures are free to every search. Regret is how much
    slower the best found is than the best of all.
    """
    from autotune.bench import plot as picture
    from autotune.bench import search as benchmark
    from autotune.bench import table
    from autotune.bench.own import Knowledge

    if plot is not None:
        picture.check(plot)
    named = click.get_current_context().get_parameter_source("samplers") is not ParameterSource.DEFAULT
    wanted = tuple(dict.fromkeys(samplers or benchmark.DEFAULT))
    runnable = tuple(benchmark.available(wanted))
    if len(runnable) < len(wanted):
        click.echo("Kernel Tuner's strategies are left out: install the extra 'rivals'", err=True)
    if named and not runnable:
        raise InputError("--samplers: none of them can run here")
    paths = _spaces(recorded, spaces, min_configs)
    knowledge = Knowledge(neighbour, estimate=not no_estimate)
    after = _numbers(budgets)
    comparison = benchmark.Comparison(paths, runnable, seeds, after, knowledge)
    scores = benchmark.run(comparison, workers=workers)
    if as_json:
        click.echo(json.dumps([asdict(score.row(budget)) for score in scores for budget in after], indent=1))
    else:
        click.echo(table.markdown(scores, after))
        if len(paths) > 1:
            click.echo(f"\nAll {len(paths)} spaces, each counting the same:\n{table.summary(scores, after)}")
    if plot is not None:
        picture.draw(scores, max(after), plot)


def _spaces(recorded: Path, pattern: str, min_configs: int) -> tuple[Path, ...]:
    """The recordings to replay; one of which nothing runs has no best to be compared with."""
    found = recording.find(recorded, pattern)
    if not found:
        there = "which matches nothing" if recording.find(recorded) else f"and there is no *{recording.SUFFIX}"
        raise InputError(f"--spaces: got {pattern!r}, {there} in {recorded}")
    loaded = [each for each in map(recording.load, found) if len(each.configs) >= min_configs]
    for each in loaded:
        if not each.runs:
            click.echo(f"{each.path}: left out, none of its configs has the status ok", err=True)
    if not (paths := tuple(each.path for each in loaded if each.runs)):
        raise InputError(f"--spaces: got {pattern!r}, of which none in {recorded} can be replayed; see --min-configs")
    return paths


def _numbers(budgets: tuple[str, ...]) -> tuple[int, ...]:
    if not budgets or not all(b.isdecimal() and int(b) for b in budgets):
        raise InputError(f"--budgets: got {','.join(budgets)!r}, allowed: positive integers with commas between")
    return tuple(sorted({int(b) for b in budgets}))
