"""``study delete``: removes studies and their measurements."""

from __future__ import annotations

import click

from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.storage import open_storage
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.study import studies
from autotune.untrusted.printing import printable


@click.command(cls=FlagCommand)
@takes_flags
@click.argument("name")
def delete(name: str, yes: bool = False, storage: str = DEFAULT_STORAGE_URL) -> None:
    """Delete a study and its measurements."""
    opened = open_storage(storage)
    trials = studies.count_trials(opened, name)
    if not yes:
        click.confirm(f"Delete {printable(name)} with {trials} trials?", abort=True)
    studies.delete(opened, name)
