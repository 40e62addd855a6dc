"""Makes reports of studies, from the storage alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from autotune.report.content import ReportContent
from autotune.report.figures import floors, speedups, study_figure
from autotune.report.gathering import gather
from autotune.report.page import html
from autotune.report.served import read_served
from autotune.report.timed import importances, timed_trials
from autotune.study.stored_study import StoredStudy


def report(
    studies: Sequence[StoredStudy], plan_name: str | None = None, directory: Path | None = None
) -> ReportContent:
    """Gathers what came of studies: results, what a forward pass saves, where time went, what is not tuned and why.

    Args:
        plan_name: The plan that they belong to, which knows layers and how often each is launched; None for the only
            one that all of them are in, if there is one.
        directory: An export's folder that `tune --prove` has written to: what the server's engine took with it is
            told, too.

    Raises:
        InputError: If the folder has no such table.
    """
    served = None if directory is None else read_served(directory)
    common = set.intersection(*(set(item.plans) for item in studies)) if studies else set()
    return gather(studies, plan_name or (common.pop() if len(common) == 1 else None), served)


def page(found: ReportContent, studies: Sequence[StoredStudy]) -> str:
    """Renders a report as one HTML file with plots: no script, and nothing that it loads.

    Raises:
        InputError: If matplotlib is not installed.
    """
    figures = []
    if any(row.speedup and row.size is not None for row in found.rows):
        figures.append(speedups(found))
    if any(row.floor_us and row.tuned_us for row in found.rows):
        figures.append(floors(found))
    return html(found, figures, _study_figures(found, studies))


def _study_figures(found: ReportContent, studies: Sequence[StoredStudy]) -> Iterator[tuple[str, str]]:
    for row, item in zip(found.rows, studies, strict=True):
        if timed := timed_trials(item):
            yield row.name, study_figure(row, timed, importances(item))
