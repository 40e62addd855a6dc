"""``study`` groups commands that are modules of their own."""

from __future__ import annotations

import click

from autotune.cli.lazy import LazyCommand, LazyGroup

_COMMANDS = {
    "create": LazyCommand("study_create", "create", "Create a study for each size of a model, or of a problem."),
    "run": LazyCommand("study_run", "run", "Run the unfinished studies, all or those that match."),
    "list": LazyCommand("study_list", "list_", "List the studies of the storage, and where they stand."),
    "show": LazyCommand("study_read", "show_", "Show a study: problem, machine, result, trials."),
    "best": LazyCommand("study_read", "best", "Print the config that a finished study decided for."),
    "report": LazyCommand("study_report", "report", "Report what became of studies, to read or to send."),
    "export": LazyCommand("study_export", "export", "Write finished studies as the JSON that the server loads."),
    "delete": LazyCommand("study_delete", "delete", "Delete studies and their measurements."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def study() -> None:
    """Create, run, read and export studies: one per kernel shape."""
