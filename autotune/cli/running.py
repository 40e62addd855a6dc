"""Runs a list of studies with a live display, for `study run` and `tune`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from optuna.storages import BaseStorage

from autotune import api
from autotune.cli.advice import say_if_replayed
from autotune.cli.flags.run import RunFlags
from autotune.cli.messages import tell
from autotune.cli.progress import RunDisplay
from autotune.cli.stopping import between_steps
from autotune.environment import driver_installed
from autotune.errors import AutotuneError
from autotune.plan.plan import SMALL_STUDY_S
from autotune.report.results import before_after, before_after_by_size, machines, time_line, unsearched_lines
from autotune.report.sections import rivals_section, token_lines, without_empty_columns
from autotune.report.tables import show, table
from autotune.study import studies
from autotune.study.grouping import by_group
from autotune.study.serving_notes import serving_notes
from autotune.study.sources import notices
from autotune.study.study import KernelStudy
from autotune.untrusted.printing import say


def load_ahead(backend: str) -> None:
    """Begins to load what the processes that measure need, during all that comes before the first study."""
    if backend in ("auto", "cuda") and driver_installed():
        from autotune.measure.fork_server import start_server  # needs torch, which replays do not

        start_server()


def run_studies(
    storage: BaseStorage, wanted: Sequence[KernelStudy], flags: RunFlags, plan_name: str | None = None
) -> list[str]:
    """Runs the unfinished studies, and all of their groups, in turn, and lets kernels of one call meet in the end.

    Ctrl-C and SIGTERM keep what was measured.

    Args:
        plan_name: The plan that they are of: it says what each search is worth, and which are only raced.

    Returns:
        What those say that failed; the others have run.
    """
    chosen = studies.whole_groups(storage, wanted)
    to_run = [item for item in chosen if item.result is None]
    if flags.backend != "cuda":  # else the studies are refused, and have no times
        say_if_replayed(to_run)
    for line in notices((item.spec for item in to_run), (item.spec for item in chosen if item.result)):
        tell(f"Note: {line}.")
    worth, raced = api.worth(chosen, plan_name), api.raced(chosen, plan_name)
    left_out = "those that are worth least" if worth else "the last of them"
    if short := too_short([item for item in to_run if item.name not in raced], flags.budget.timeout_s, left_out):
        tell(f"Note: {short}.")
    start_s = time.monotonic()
    with between_steps() as check_stop, RunDisplay(len(to_run), flags.budget, check_stop) as display:
        failures = api.run(storage, chosen, flags.options, flags.budget, display, worth, raced)
    timed = [item for item in to_run if item.result and item.spec.backend != "replay"]
    if timed:
        tell(time_line(timed, time.monotonic() - start_s))
    # What failed has no result either, and says so itself.
    searched = [item for item in to_run if item.name not in raced and (item.result or not failures)]
    for line in unsearched_lines(searched, left_out):
        tell(f"Note: {line}.")
    if left := sum(item.result is None for item in chosen if item.name in raced):
        why = "no time was left, or no m beside theirs was searched"
        tell(f"Note: {left} races did not run, {why}; servers take the entries of the nearest m.")
    return failures


def raise_if_any(failures: Sequence[str]) -> None:
    """Ends a command with what failed, once all that it can do without that is done.

    Raises:
        AutotuneError: If anything failed.
    """
    if failures:
        raise AutotuneError("; ".join(failures))


def too_short(to_search: Sequence[KernelStudy], timeout_s: float | None, left_out: str) -> str | None:
    """Tells that some studies, `left_out`, will find no time to search; None where there is enough, or nothing to wait
    for."""
    turns = by_group([item for item in to_search if item.spec.backend != "replay"])
    if timeout_s is None or not turns or (share_s := timeout_s / len(turns)) >= SMALL_STUDY_S:
        return None
    return (
        f"--timeout: {share_s:.1f} s for each of {len(turns)} searches, of which most take {SMALL_STUDY_S:g} s or "
        f"more; where time is too short for all, {left_out} keep their default"
    )


def show_results(finished: list[KernelStudy], plan_name: str | None = None) -> None:
    """Prints before and after.

    Where the server's kernels were compared with ours, that is one table, and what is in it is in no other.
    """
    compared = {name for item in finished if (met := item.head_to_head) for name in (item.name, *met.rivals)}
    if others := [item for item in finished if item.name not in compared]:
        show(before_after(others), narrow=before_after_by_size(others))
    show_compared(finished, plan_name)


def show_compared(finished: list[KernelStudy], plan_name: str | None = None) -> None:
    """Prints the server's kernels beside ours, where they were compared."""
    if not any(item.head_to_head for item in finished):
        return
    found = api.report(finished, plan_name)
    section = without_empty_columns(rivals_section(found))
    say()
    show(table(f"{section.title}\n{machines(finished)}", section.columns, section.rows))
    say(section.note)
    for line in token_lines(found):
        say(line)


def say_notes(finished: list[KernelStudy]) -> None:
    """Prints what a server makes of results."""
    for note in serving_notes(finished):
        say(note)
