"""``bench search`` compares searches on recorded spaces."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.messages import tell
from autotune.cli.progress_bar import counted
from autotune.errors import InputError
from autotune.measure import recording
from autotune.untrusted.printing import say


@dataclass(frozen=True)
class ComparisonFlags:
    """The flags of `bench search`."""

    spaces: str = "*"
    recorded: Path = recording.RECORDED_DIR
    samplers: tuple[str, ...] | None = None
    seeds: int = 20
    budgets: tuple[str, ...] = ("25", "50", "100")
    neighbour: bool = False
    no_estimate: bool = False
    min_configs: int = 1
    workers: int | None = None
    plot: Path | None = None


@click.command("search", cls=FlagCommand)
@takes_flags
def search(flags: ComparisonFlags, as_json: bool = False) -> None:
    """Replay recorded spaces and compare searches.

    How near the best does each come, and how soon? Needs no GPU.
    An evaluation is a distinct config that is measured; compile failures are free to every search. Regret is how much
    slower the best found is than the best of all.
    """
    from autotune.bench import plot, table
    from autotune.bench.own_searches import Knowledge
    from autotune.bench.search import DEFAULT, Comparison, available, run

    if flags.plot is not None:
        plot.check(flags.plot)
    wanted = tuple(dict.fromkeys(flags.samplers or DEFAULT))
    runnable = tuple(available(wanted))
    if len(runnable) < len(wanted):
        tell("Kernel Tuner's strategies are left out: install the extra 'rivals'")
    if flags.samplers is not None and not runnable:
        raise InputError("--samplers: none of them can run here")
    paths = _spaces(flags.recorded, flags.spaces, flags.min_configs)
    knowledge = Knowledge(flags.neighbour, estimate=not flags.no_estimate)
    after = _numbers(flags.budgets)
    comparison = Comparison(paths, runnable, flags.seeds, after, knowledge)
    with counted("searches of a space", len(paths) * len(runnable)) as advance:
        scores = run(comparison, lambda score: advance(), workers=flags.workers)
    if as_json:
        say(json.dumps([asdict(score.row(budget)) for score in scores for budget in after], indent=1))
    else:
        say(table.markdown(scores, after))
        if len(paths) > 1:
            say(f"\nAll {len(paths)} spaces, each counting the same:\n{table.summary(scores, after)}")
    if flags.plot is not None:
        plot.draw(scores, max(after), flags.plot)


def _spaces(recorded: Path, pattern: str, min_configs: int) -> tuple[Path, ...]:
    """Returns the recordings to replay; one of which nothing runs has no best to be compared with."""
    found = recording.find(recorded, pattern)
    if not found:
        there = "which matches nothing" if recording.find(recorded) else f"and there is no *{recording.SUFFIX}"
        raise InputError(f"--spaces: got {pattern!r}, {there} in {recorded}; doctor lists the shipped ones")
    loaded = [each for each in map(recording.load, found) if len(each.configs) >= min_configs]
    for each in loaded:
        if not each.runs:
            tell(f"{each.path}: left out, none of its configs has the status ok")
    if not (paths := tuple(each.path for each in loaded if each.runs)):
        raise InputError(f"--spaces: got {pattern!r}, of which none in {recorded} can be replayed; see --min-configs")
    return paths


def _numbers(budgets: tuple[str, ...]) -> tuple[int, ...]:
    if not budgets or not all(len(b) < 10 and b.isdecimal() and int(b) for b in budgets):
        raise InputError(f"--budgets: got {','.join(budgets)!r}, allowed: positive integers with commas between")
    return tuple(sorted({int(b) for b in budgets}))
