"""Writes the note that a study carries in the dashboard: problem, machine, result; and the report's plots of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from autotune import servers
from autotune.report.dashboard_plots import study_plots
from autotune.report.groups import group_line
from autotune.report.results import result_line
from autotune.report.tables import config_text, us, workload_text
from autotune.study.serving_notes import serving_note
from autotune.study.stored_study import StoredStudy
from autotune.study.summary import StudySummary

if TYPE_CHECKING:
    from autotune.study.study import KernelStudy

_DASHBOARD = "optuna_dashboard"


def write_note(study: KernelStudy) -> None:
    """Keeps the note and the plots on the study, where the dashboard shows them; without the dashboard there is nobody
    to show them to."""
    if (notes := _part("_note")) is None:
        return
    summary = study.summary
    notes.save_note(study.study, _text(study, summary))
    if summary.result and (kept := _part("_custom_plot_data")) is not None:
        for name, figure in study_plots(study).items():
            kept.save_plotly_graph_object(study.study, figure, graph_object_id=name)


def _part(name: str) -> ModuleType | None:
    """Loads what of the dashboard keeps notes or plots, which needs nothing else of it: the whole takes seconds, for
    what it plots with. None where it is not installed."""
    if (package := importlib.util.find_spec(_DASHBOARD)) is None:
        return None
    (folder,) = package.submodule_search_locations or [""]
    module = Path(folder, f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"{__name__}.{name}", module)
    if not module.is_file() or spec is None or spec.loader is None:
        return importlib.import_module(_DASHBOARD)  # Another release may keep them elsewhere.
    part = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(part)
    return part


def study_note(study: StoredStudy) -> str:
    """Tells in Markdown what a study is about and what became of it."""
    return _text(study, study.summary)


def _text(study: StoredStudy, summary: StudySummary) -> str:
    spec, result = summary.spec, summary.result
    # The result in one line leads; the name does of an unfinished study.
    lines = [f"**{result_line(summary.name, result) if result else summary.name}**", ""]
    if spec.backend == "replay":
        lines += [f"Times are recordings of {spec.gpu.name} (`{spec.space}`); nothing was measured here.", ""]
    lines += [f"- kernel: `{spec.kernel}` ({spec.source}, sources {spec.kernel_fingerprint}), space `{spec.space}`"]
    lines += [f"- problem: {_pairs(spec.problem)}", f"- machine: {_pairs(spec.environment.known)}"]
    if result:
        decision = result.decision
        lines += [f"- default: {us(decision.incumbent_us)} us with {config_text(decision.incumbent)}"]
        if decision.outcome == "tuned":
            lines += [f"- tuned: {us(decision.tuned_us)} us with {config_text(decision.config)}"]
        lines += [f"- trials: {_pairs(result.counts)}"]
        lines += [f"- on {workload_text(times)}" for times in decision.workloads]
    if note := serving_note(study):
        lines += [f"- served: {note}"]
    if group := summary.group_result:
        lines += [f"- group: {group_line(group)}"]
    lines += [f"- {line}" for line in servers.advice([study.call])]
    return "\n".join(lines)


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
