"""Writes the section on whole models in docs/results.md: what one command made of everything a server looks up.

It reads what docs/run_plan.sh left in docs/data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.study.summary import StudySummary
from results_page.runs import machine_text, read
from results_page.tables import Table, markdown

SUMMARY_COLUMNS = ("server", "studies", "configs measured", "wall min", "files, findings of config check")


def section(data: Path) -> list[str]:
    """Writes the section on whole models; nothing where none has been tuned."""
    runs = [read(file) for file in sorted(data.glob("plan-*.json"), reverse=True)]
    if not runs:
        return []
    model, serving = runs[0].about["plan"]["model"]["name"], runs[0].about["plan"]["serving"]
    lines = [
        "",
        "## A whole model in one command",
        "",
        f"{model}, TP {serving['tp']}, rank {serving['rank']}, {serving['max_loras']} adapters, from nothing to "
        "checked files (`bash docs/run_plan.sh`); races at further batch sizes count as studies.",
        "",
        *markdown(SUMMARY_COLUMNS, [summary(run.about, run.studies) for run in runs]),
    ]
    for run in runs:
        plan = run.about["plan"]
        columns, rows = before_after(plan, run.studies)
        server, kernels = plan["serving"]["runtime"], ", ".join(sorted({study.spec.source for study in run.studies}))
        machine = machine_text(run.studies[0])
        head = f"{server}, kernels: {kernels}, on {machine}; default → tuned, us a launch:"
        lines += ["", head, "", *markdown(columns, rows)]
    return lines


@dataclass(frozen=True)
class Timed:
    """One lookup of a shape, at one batch size."""

    default_us: float | None
    tuned_us: float
    floor_us: float | None


def summary(run: Mapping[str, Any], studies: Sequence[StudySummary]) -> list[str]:
    """Makes a run's row under `SUMMARY_COLUMNS`."""
    results = [study.result for study in studies if study.result]
    measured = sum(sum(result.counts.values()) for result in results)
    return [
        run["plan"]["serving"]["runtime"],
        f"{len(results)} of {len(studies)}",
        str(measured),
        f"{run['wall_s'] / 60:.1f}",
        "none" if run["check"] == 0 else "some",
    ]


def before_after(plan: Mapping[str, Any], studies: Sequence[StudySummary]) -> Table:
    """Makes a row a batch size, a column a shape; in the end what all layers of the model take together."""
    return _table(plan, studies, _cell, _total)


def tuned_and_floor(plan: Mapping[str, Any], studies: Sequence[StudySummary]) -> Table:
    """Makes the same table of what is tuned alone, with the least that its bytes take."""
    return _table(plan, studies, _tuned_cell, _tuned_total)


_Here = Sequence[tuple[Mapping[str, Any], Timed | None]]


def _table(
    plan: Mapping[str, Any],
    studies: Sequence[StudySummary],
    cell: Callable[[Timed | None], str],
    total: Callable[[_Here], str],
) -> Table:
    shapes = [(shape, _times(shape, plan["size"], studies)) for shape in plan["shapes"]]
    sizes = sorted({size for _, times in shapes for size in times})
    rows = []
    for size in sizes:
        here = [(shape, times.get(size)) for shape, times in shapes]
        rows.append([str(size), *(cell(timed) for _, timed in here), total(here)])
    names = [f"{shape['op']}: {', '.join(map(_layer, shape['layers']))}" for shape, _ in shapes]
    return [plan["size"], *names, "all layers, us"], rows


def _times(shape: Mapping[str, Any], size: str, studies: Iterable[StudySummary]) -> dict[int, Timed]:
    """Finds the finished studies of a shape, by batch size."""
    found = {}
    for study in studies:
        call, result = study.spec.call, study.result
        if result is None or call is None or call.op != shape["op"]:
            continue
        if all(shape[name] == value for name, value in call.dims.items() if name != size):
            found[call.dims[size]] = Timed(result.decision.incumbent_us, result.decision.tuned_us, result.floor_us)
    return found


def _cell(timed: Timed | None) -> str:
    if timed is None:
        return "-"
    default = "fails" if timed.default_us is None else _us(timed.default_us)
    return f"{default} → {_us(timed.tuned_us)}"


def _total(here: _Here) -> str:
    """Sums up the layers; nothing where a default does not run."""
    timed = _counted(here)
    if timed is None or any(found.default_us is None for _, found in timed):
        return "-"
    default_us = sum(count * (found.default_us or 0.0) for count, found in timed)
    tuned_us = sum(count * found.tuned_us for count, found in timed)
    return f"{default_us:.0f} → {tuned_us:.0f} ({default_us / tuned_us:.2f}x)"


def _tuned_cell(timed: Timed | None) -> str:
    return "-" if timed is None else f"{_us(timed.tuned_us)} ({_floor(timed.floor_us)})"


def _tuned_total(here: _Here) -> str:
    if (timed := _counted(here)) is None:
        return "-"
    floors_us = [count * found.floor_us for count, found in timed if found.floor_us is not None]
    tuned_us = sum(count * found.tuned_us for count, found in timed)
    return f"{tuned_us:.0f} ({_floor(sum(floors_us) if len(floors_us) == len(timed) else None)})"


def _counted(here: _Here) -> list[tuple[int, Timed]] | None:
    """Returns what was timed, and how many layers there are of each; None where layers of every block were not.

    Of the head's rows there are fewer than of a large batch.
    """
    counted = [(sum(map(_count, shape["layers"])), found) for shape, found in here]
    if any(found is None for count, found in counted if count > 1):
        return None
    return [(count, found) for count, found in counted if found]


def _floor(floor_us: float | None) -> str:
    return "-" if floor_us is None else _us(floor_us)


def _count(layer: str) -> int:
    """Reads 36 off "qkv_proj x36"."""
    found = re.search(r" x(\d+)$", layer)
    return int(found.group(1)) if found else 1


def _layer(layer: str) -> str:
    return re.sub(r" x\d+$", "", layer)


def _us(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
