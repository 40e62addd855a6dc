"""Writes the section on the servers' own kernels in docs/results.md: what exported files are worth to them.

It reads what docs/run_served.sh left in docs/data, and what docs/run_served.py found alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from autotune.contract.source import BUILTIN
from autotune.study.summary import StudySummary
from results_page import plan as plans
from results_page.runs import environment_text, machine_text, read
from results_page.tables import markdown

Rows = Sequence[Mapping[str, Any]]

SLOWER = 0.01
"""An exported entry is slower where it loses this much, and the loss is significant at this level after Holm's
correction over all entries."""


def section(data: Path) -> list[str]:
    """Writes what the files are worth to the kernels that servers launch; nothing where that has not been measured."""
    lines: list[str] = []
    for run in map(read, sorted(data.glob("served-*.json"), reverse=True)):
        plan = run.about["plan"]
        finished = [study for study in run.studies if study.result is not None]
        own = [study for study in finished if study.spec.source != BUILTIN]
        ours = [study for study in finished if study.spec.source == BUILTIN]
        serving, kernel = plan["serving"], own[0].spec.kernel.partition("@")[2]
        columns, cells = plans.before_after(plan, own)
        lines += [
            "",
            f"### {plan['model']['name']} on the kernels of {kernel}",
            "",
            f"TP {serving['tp']}, rank {serving['rank']}, {serving['max_loras']} adapters; "
            f"{_studies(run.about, len(own), len(ours))}. Machine: {machine_text(run.studies[0])}. "
            "Default → tuned, us a launch:",
            "",
            *markdown(columns, cells),
            "",
            *(_beside_ours(plan, own, ours) if ours else ()),
            f"- {against_no_folder(run.about['never_slower'])}",
            *(f"- {against_the_best(rows)}" for rows in [run.about["regret"]] if rows),
        ]
    title = "## The servers' own kernels: files tuned on what the server launches"
    return ["", title, *lines, *_fewer_adapters(data), *_tuned_again(data), *_beside_the_grid(data)] if lines else []


def _studies(about: Mapping[str, Any], own: int, ours: int) -> str:
    """Says how many studies of either kernel there are, and how long they took."""
    if (beside_s := about.get("beside_wall_s")) is not None:
        return f"{own} studies in {about['wall_s']:.0f} s, and {ours} of ours in {beside_s:.0f} s of another run"
    took = f" in {about['wall_s']:.0f} s" if "wall_s" in about else ", in two runs"
    return f"{own + ours} studies{took}"


def _beside_ours(plan: Mapping[str, Any], own: Sequence[StudySummary], ours: Sequence[StudySummary]) -> list[str]:
    """Compares both kernels of each lookup at their best with the floor."""
    lines = []
    for whose, studies in (("The server's own", own), ("Ours", ours)):
        lines += [f"{whose}, tuned, us a launch (the least that its bytes take):", ""]
        lines += [*markdown(*plans.tuned_and_floor(plan, studies)), ""]
    return lines


def _fewer_adapters(data: Path) -> list[str]:
    """Says what entries are worth in batches that use fewer adapters than they were timed with."""
    lines: list[str] = []
    for file in sorted(data.glob("active-*.json")):
        run = json.loads(file.read_text())
        by_use: dict[str, list[Mapping[str, Any]]] = {}
        for row in run["rows"]:
            fewer = re.search(r"-a(\d+)(-|$)", row["problem"])
            by_use.setdefault(f"{fewer[1]} in use" if fewer else "all in use", []).append(row)
        kernels = ", ".join(sorted({row["kernel"] for row in run["rows"]}))
        lines += [
            "",
            "### Entries in batches that use fewer adapters",
            "",
            f"{run['model']}, tuned with all adapters in use. Kernels: {kernels}. Machine: "
            f"{environment_text(run['environment'])}.",
            "",
            *(f"- With {use}: {against_no_folder(rows)}" for use, rows in sorted(by_use.items(), reverse=True)),
        ]
    return lines


def _tuned_again(data: Path) -> list[str]:
    """Sums up regrets of models that were tuned once more, for few m; nothing where there are none."""
    runs = [json.loads(file.read_text()) for file in sorted(data.glob("regret-*.json"), reverse=True)]
    if not runs:
        return []
    rows = [row for run in runs for row in run["rows"]]
    machine = environment_text(runs[0]["environment"])
    lines = [
        "",
        "### Tuned again, and held against many other configs",
        "",
        f"Kernels: {', '.join(sorted({row['kernel'] for row in rows}))}. Machine: {machine}.",
        "",
        *(f"- {run['note']}. {against_the_best(run['rows'])}" for run in runs),
    ]
    return [*lines, f"- Together: {against_the_best(rows)}"] if len(runs) > 1 else lines


def _beside_the_grid(data: Path) -> list[str]:
    """Compares the search of a shape with the grid of the server's own script; nothing where that was not timed."""
    lines: list[str] = []
    for file in sorted(data.glob("grid-*.json")):
        run = json.loads(file.read_text())
        lines += [
            "",
            f"The grid that vLLM's tuning script goes through, for one shape (`{run['kernel']}`, {run['problem']}, "
            f"{run['environment']['gpu']}): {run['grid_configs']} configs take {run['grid_s']} s ({run['sampled']} of "
            f"them, drawn at random, took {run['sampled_s']:.0f} s), the search {run['ours']['wall_s']:.0f} s in the "
            "same run.",
        ]
    return lines


def against_no_folder(rows: Rows) -> str:
    """Sums up the race of every entry with the folder against without."""
    raced = [row for row in rows if "gain" in row]
    lost = holm([row["p_slower"] for row in raced])
    slower = [row for row, p_value in zip(raced, lost, strict=True) if row["gain"] <= -SLOWER and p_value <= SLOWER]
    gains = [1 / (1 - row["gain"]) for row in raced]
    same = sum(row["default"] == row["exported"] for row in raced)
    pinned = len(rows) - len(raced)
    return (
        f"Each exported entry beside no folder, both found by the server's own loader, 100 interleaved rounds: "
        f"{len(slower)} of {len(raced)} slower (by 1% or more, significant after Holm's correction), {same} the same "
        f"as the default, speed-up median {median(gains):.2f}x, least {min(gains):.2f}x, most {max(gains):.2f}x"
        + (f"; {pinned} more entries repeat these for another number of adapters." if pinned else ".")
    )


def against_the_best(rows: Rows) -> str:
    """Sums up the exported configs' times over those of the best config of many."""
    ratios = sorted(row["ratio"] for row in rows)
    whole = sum(row.get("whole", False) for row in rows)
    tested = sum(row["configs"] for row in rows)
    return (
        f"Exported over best: {len(rows)} lookups, {tested} further configs timed (the whole space of {whole}, else "
        f"around the exported one and at random, also from the grid of the server's script), the ten fastest and the "
        f"exported one raced again in a process of its own: median {median(ratios):.3f}, 95th percentile "
        f"{quantiles(ratios, n=20, method='inclusive')[-1]:.3f}, worst {ratios[-1]:.3f}."
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for their number (Holm 1979, Scand. J. Statist. 6)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
