"""``study show`` and ``best`` print what the storage says of one study."""

from __future__ import annotations

import json

import click

from autotune import api
from autotune.cli.advice import say_advice
from autotune.cli.completion import study_names
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.errors import InputError
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.report import results
from autotune.report.note import study_note
from autotune.report.tables import config_text, show, table, us
from autotune.report.trials import trial_rows
from autotune.untrusted.printing import say


@click.command("show", cls=FlagCommand)
@takes_flags
@click.argument("name", shell_complete=study_names)
def show_(name: str, storage: str = DEFAULT_STORAGE_URL, as_json: bool = False) -> None:
    """Show a study: problem, machine, result, trials.

    NAME may be a glob that matches one study.
    """
    item = api.read_one(storage, name)
    if as_json:
        say(json.dumps(results.study_json(item), indent=2))
        return
    say(study_note(item).replace("*", "").replace("`", ""))
    columns = ("trial", "status", "median us", "registers", "spills", "shared B", "config or message")
    rows = [
        (
            row.number,
            row.status,
            us(row.median_us),
            row.registers,
            row.spill_bytes,
            row.shared_bytes,
            config_text(row.params) + (f" ({row.message})" if row.message else ""),
        )
        for row in trial_rows(item)
    ]
    show(table("", columns, rows))


@click.command(cls=FlagCommand)
@takes_flags
@click.argument("name", shell_complete=study_names)
def best(name: str, storage: str = DEFAULT_STORAGE_URL, as_json: bool = False) -> None:
    """Print the config that a finished study decided for.

    NAME may be a glob that matches one study.
    """
    item = api.read_one(storage, name)
    if (result := item.result) is None:
        raise InputError(f"study {item.name} is not finished; finish it with: study run {item.name}")
    if as_json:
        say(json.dumps(results.best_json(item, result), indent=2))
    else:
        say(results.result_line(item.name, result))
        say(config_text(result.decision.config))
        say_advice([item])
