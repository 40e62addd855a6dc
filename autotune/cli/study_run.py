"""``study run`` runs what is not finished."""

from __future__ import annotations

import click

from autotune import api
from autotune.cli.advice import say_advice
from autotune.cli.completion import study_names
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.flags.run import FurtherRunFlags
from autotune.cli.messages import tell
from autotune.cli.running import load_ahead, raise_if_any, run_studies, say_notes, show_results
from autotune.cli.storage import open_storage
from autotune.contract import registry
from autotune.errors import InputError
from autotune.study import studies
from autotune.study.study import KernelStudy


@click.command(cls=FlagCommand)
@takes_flags
@click.argument("patterns", metavar="[GLOB]...", nargs=-1, shell_complete=study_names)
def run(
    patterns: tuple[str, ...],
    running: FurtherRunFlags,
    plan_name: str | None = None,
    kernel_files: tuple[str, ...] = (),
) -> None:
    """Run the unfinished studies, all or those that match.

    With --plan those of a plan, in its order; with --timeout, time that some leave goes where most is to be gained.

    A study ends when its search stops and the best configs have met the default side by side. Stop it at any time
    (Ctrl-C, a kill, a lost machine): running it again goes on where it was.

    Started several times, on one machine or many, runs share the work: a study that another one runs is
    skipped, and tried again at the end. A GPU belongs to one run at a time.

    With --more, finished studies are searched further, without a stop rule, and decided again.
    """
    for file in kernel_files:
        registry.name_file(file)
    storage = open_storage(running.storage)
    chosen = studies.whole_groups(storage, api.find(storage, patterns, plan_name))
    if running.more is not None:
        _reopen(chosen)
    if not chosen:
        tell("Nothing to run: no studies yet; make one with study create.")
        return
    unfinished = {item.name for item in chosen if item.result is None}
    if not unfinished and not api.has_due(chosen):
        tell("Nothing to run: every matching study is finished; see study list.")
        return
    load_ahead(running.backend)
    failures: list[str] = []
    try:
        failures = run_studies(storage, chosen, running, plan_name)
    finally:
        told = [item for item in chosen if item.name in unfinished or item.head_to_head]
        if finished := [item for item in told if item.result is not None]:
            show_results(finished, plan_name)
            say_notes(finished)
            say_advice(finished)
    raise_if_any(failures)


def _reopen(chosen: list[KernelStudy]) -> None:
    """Takes the results of finished studies back, so that they are searched further.

    Raises:
        InputError: If one is of a group, whose ops are decided together.
    """
    for item in chosen:
        if item.spec.group is not None:
            raise InputError(
                f"--more: study {item.name} is of the group {item.spec.group}, which is searched together; name "
                "others, or delete the group's studies and create them again"
            )
    for item in chosen:
        if item.result is not None:
            item.reopen()
