"""``study list`` says where every study of the storage stands."""

from __future__ import annotations

import json

import click

from autotune import api
from autotune.cli.completion import study_names
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.messages import tell, working
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.report.listing import listing, state_of
from autotune.report.tables import show
from autotune.untrusted.printing import say


@click.command("list", cls=FlagCommand)
@takes_flags
@click.argument("patterns", metavar="[GLOB]...", nargs=-1, shell_complete=study_names)
def list_(
    patterns: tuple[str, ...],
    plan_name: str | None = None,
    state: str | None = None,
    storage: str = DEFAULT_STORAGE_URL,
    as_json: bool = False,
) -> None:
    """List the studies of the storage, and where they stand.

    Takes all studies, those that match, or those of a plan.
    On a terminal that is too narrow for their names they are listed by kernel and sizes.
    """
    with working("reading the studies"):
        chosen = api.standing(storage, patterns, plan_name)
    found = [item for item in chosen if state in (None, state_of(item).state)]
    if as_json:
        say(json.dumps([state_of(item).to_json() for item in found], indent=2))
    elif not chosen:
        tell("No studies yet; make one with study create.")
    elif not found:
        tell(f"None of {len(chosen)} studies is {state}.")
    else:
        by_name, by_size = listing(found)
        show(by_name, narrow=by_size)
