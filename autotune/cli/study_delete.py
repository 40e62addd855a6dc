"""``study delete`` removes studies and their measurements."""

from __future__ import annotations

import fnmatch

import click
from optuna.storages import BaseStorage

from autotune import api
from autotune.cli.completion import study_names
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.progress_bar import counted
from autotune.cli.storage import open_storage
from autotune.errors import InputError
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.study import studies
from autotune.untrusted.printing import printable, say


@click.command(cls=FlagCommand)
@takes_flags
@click.argument("patterns", metavar="[GLOB]...", nargs=-1, shell_complete=study_names)
def delete(
    patterns: tuple[str, ...], plan_name: str | None = None, yes: bool = False, storage: str = DEFAULT_STORAGE_URL
) -> None:
    """Delete studies and their measurements.

    Takes those that match, or those of a plan; asks before it deletes, unless --yes says not to.
    """
    if not patterns and plan_name is None:
        raise InputError("study delete: no study named; name studies, a glob ('*' for all) or a --plan")
    opened = open_storage(storage)
    names = _names(opened, patterns, plan_name)
    trials = sum(studies.count_trials(opened, name) for name in names)
    if not yes:
        for name in names:
            say(name, err=True)
        what = printable(names[0]) if len(names) == 1 else f"these {len(names)} studies"
        click.confirm(f"Delete {what} with {trials} trials?", abort=True)
    with counted("deleting studies", len(names)) as advance:
        for name in names:
            studies.delete(opened, name)
            advance()


def _names(storage: BaseStorage, patterns: tuple[str, ...], plan_name: str | None) -> list[str]:
    if plan_name is not None:
        return [item.summary.name for item in api.standing(storage, patterns, plan_name)]
    known = studies.names(storage)
    # One that a killed creation left empty is known by its name alone.
    return list(dict.fromkeys(name for pattern in patterns for name in fnmatch.filter(known, pattern) or [pattern]))
