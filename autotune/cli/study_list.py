"""``study list``: where every study of the storage stands."""

from __future__ import annotations

import json

import click

from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.storage import open_storage
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.report.listing import listing, state_of
from autotune.report.tables import show
from autotune.study import studies
from autotune.untrusted.printing import say


@click.command("list", cls=FlagCommand)
@takes_flags
def list_(storage: str = DEFAULT_STORAGE_URL, as_json: bool = False) -> None:
    """List the studies of the storage."""
    found = studies.counted(open_storage(storage))
    if as_json:
        say(json.dumps([state_of(item).to_json() for item in found], indent=2))
    elif not found:
        say("No studies yet; make one with study create.", err=True)
    else:
        show(listing(found))
