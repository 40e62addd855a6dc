"""``study report`` says what came of studies, to be read or sent."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from autotune import api
from autotune.cli.completion import study_names
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.messages import tell, working
from autotune.errors import InputError
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.report.content import ReportContent
from autotune.report.figures import check_plots
from autotune.report.sections import UNTUNED, markdown, sections
from autotune.report.tables import show, table
from autotune.study.stored_study import StoredStudy
from autotune.untrusted.printing import say


@dataclass(frozen=True)
class ReportFlags:
    """The flags of `study report`."""

    plan_name: str | None = None
    proven_dir: Path | None = None
    page: Path | None = None
    md: Path | None = None
    rows: Path | None = None
    as_json: bool = False


@click.command(cls=FlagCommand)
@takes_flags
@click.argument("patterns", metavar="[GLOB]...", nargs=-1, shell_complete=study_names)
def report(patterns: tuple[str, ...], flags: ReportFlags, storage: str = DEFAULT_STORAGE_URL) -> None:
    """Report what became of studies, to read or to send.

    Takes all studies, those that match, or those of a plan. Per layer and size: default, tuned, speed-up, share of the
    bandwidth floor, p-value, kernel, config. With --plan also what a decode step and a prefill of the model save, and
    what of it is not tuned and why. It reads the storage alone, at any time; what is not finished is marked so.

    \b
    Example:
      python -m autotune study report --html report.html
    """
    if flags.page is not None:
        check_plots()
    with working("reading the studies"):
        chosen = api.read(storage, patterns, flags.plan_name)
        if not chosen:
            raise InputError("study report: no studies yet; make one with study create")
        found = api.report(chosen, flags.plan_name, flags.proven_dir)
    if flags.page is not None:
        page = _page(found, chosen)
        _write(flags.page, "--html", page)
    if flags.md is not None:
        _write(flags.md, "--md", markdown(found))
    if flags.rows is not None:
        _write(flags.rows, "--csv", _csv(found))
    if flags.as_json:
        say(json.dumps(found.to_json(), indent=2))
    elif not (flags.page or flags.md or flags.rows):
        _show(found)


def _page(found: ReportContent, chosen: Sequence[StoredStudy]) -> str:
    from autotune.cli.storage import quiet_optuna  # here, because only the plots need Optuna, which loads slowly

    with working("drawing the plots"):
        quiet_optuna()
        return api.page(found, chosen)


def _show(found: ReportContent) -> None:
    say(f"{found.title}: {found.headline}")
    for machine in found.machines:
        say(machine)
    for section in sections(found):
        say()
        show(table(section.title, section.columns, section.rows))
        for line in section.remarks:
            say(f"- {line}")
    if found.untuned:
        say(f"\n{UNTUNED}:")
    for line in found.untuned:
        say(f"- {line}")
    for line in found.advice:
        tell(f"Note: {line}")


def _csv(found: ReportContent) -> str:
    rows = [{**row.to_json(), "config": json.dumps(row.config)} for row in found.rows]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, flag: str, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise InputError(f"{flag}: cannot write {path} ({error.strerror}); name another file") from error
    tell(f"Wrote {path}.")
