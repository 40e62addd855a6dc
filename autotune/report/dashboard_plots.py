"""Draws the report's plots of a study, for optuna-dashboard to show beside its own.

It draws figures of plotly, which are plain JSON and kept in the storage; plotly itself is not needed to make them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from autotune.report.tables import us
from autotune.report.timed import TimedTrial, fastest_by_pair, importances, in_order, timed_trials
from autotune.study.stored_study import StoredStudy

_WORST = 3.0
"""The map tells no more than this many times the fastest apart."""


@dataclass(frozen=True)
class PlotlyFigure:
    """A figure as plotly's JSON schema has it."""

    data: Sequence[dict[str, Any]]
    layout: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def study_plots(item: StoredStudy) -> dict[str, PlotlyFigure]:
    """Returns a study's plots, by the name that the dashboard shows them under; those that have something to say."""
    timed = timed_trials(item)
    if not timed:
        return {}
    plots = {"search": _search(item, timed)}
    if len(pair := list(importances(item))[:2]) == 2:
        plots["space"] = _space(timed, *pair)
    return plots


def _search(item: StoredStudy, timed: Sequence[TimedTrial]) -> PlotlyFigure:
    numbers = [trial.number for trial in timed]
    lines = [
        _points("timed", [trial for trial in timed if not trial.pruned]),
        _points("given up early", [trial for trial in timed if trial.pruned]),
        _line("best", numbers, list(accumulate((trial.time_us for trial in timed), min)), shape="hv"),
    ]
    if (result := item.result) and (default_us := result.decision.incumbent_us):
        lines.append(_line("default", [numbers[0], numbers[-1]], [default_us, default_us], dash="dash"))
    axes = {"xaxis": _axis("trial"), "yaxis": _axis("time, us") | {"type": "log", "dtick": "D2"}}
    return PlotlyFigure(lines, {"title": {"text": "Search against the default"}, **axes})


def _points(name: str, timed: Sequence[TimedTrial]) -> dict[str, Any]:
    numbers, times_us = [trial.number for trial in timed], [trial.time_us for trial in timed]
    return {"type": "scatter", "mode": "markers", "name": name, "x": numbers, "y": times_us}


def _line(name: str, numbers: list[int], times_us: list[float], **style: str) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "name": name, "x": numbers, "y": times_us, "line": style}


def _space(timed: Sequence[TimedTrial], across: str, up: str) -> PlotlyFigure:
    """Maps the fastest time of each pair of values of the two parameters that matter most."""
    found = fastest_by_pair(timed, across, up)
    columns, rows = (in_order(key[side] for key in found) for side in (0, 1))
    fastest_us = min(found.values())
    times_us = [[found.get((x, y)) for x in columns] for y in rows]
    cells = {
        "type": "heatmap",
        "x": [str(value) for value in columns],
        "y": [str(value) for value in rows],
        "z": [[None if time_us is None else min(time_us / fastest_us, _WORST) for time_us in row] for row in times_us],
        "text": [["" if time_us is None else us(time_us) for time_us in row] for row in times_us],
        "texttemplate": "%{text}",
        "hoverinfo": "x+y+text",
        "colorscale": "Viridis",
        "reversescale": True,
        "zmin": 1,
        "zmax": _WORST,
        "colorbar": {"title": {"text": "times the fastest"}},
    }
    title = {"text": "Fastest time, us, by the two parameters that matter most"}
    axes = {"xaxis": _axis(across) | {"type": "category"}, "yaxis": _axis(up) | {"type": "category"}}
    return PlotlyFigure([cells], {"title": title, **axes})


def _axis(title: str) -> dict[str, Any]:
    return {"title": {"text": title}}
