"""Shows an end-to-end run: as tables for a terminal or a page, and as JSON with every process's own times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autotune.bench.rounds import FinishedProcess, ServeRun
from autotune.bench.serve_table import Cell, answers, cells, verdicts
from autotune.errors import InputError
from autotune.report.tables import TextTable, table, us
from autotune.servers.timed_as import timed_as


@dataclass(frozen=True)
class ServeReport:
    """What a run came to.

    Attributes:
        tables: Times, LoRA kernels, and what each process showed of itself.
        lines: What to know, one line each.
        json: The same, with every process's own times.
    """

    tables: tuple[TextTable, ...]
    lines: tuple[str, ...]
    json: dict[str, Any]


def report(serve_run: ServeRun, finished: Sequence[FinishedProcess], model: str) -> ServeReport:
    """Makes the report of a run of a model."""
    found = cells(finished)
    lines = (*serve_run.notes, *verdicts(finished, found))
    made = (_times(_title(finished, model), found), _kernels(finished), _processes(finished))
    return ServeReport(made, lines, {"model": model, **_to_json(finished, found, lines), "timed": _timed(serve_run)})


def _timed(serve_run: ServeRun) -> dict[str, list[dict[str, Any]]]:
    """Says of each file that variants were given what its entries were timed on."""
    folder = serve_run.folder
    root = folder.served or (folder.builtin.parent if folder.builtin else None)
    try:
        found = timed_as(root) if root else {}
    except InputError:
        return {}
    return {name: [each.to_json() for each in timed] for name, timed in found.items()}


def _title(finished: Sequence[FinishedProcess], model: str) -> str:
    """Returns the model, the machine and the versions that the times are of."""
    result = finished[0].result
    versions = ", ".join(f"{name} {text}" for name, text in result.versions.items())
    return f"{model} on {result.gpu}, {versions}"


def _times(title: str, found: Sequence[Cell]) -> TextTable:
    """Makes a row for each variant and phase."""
    columns = (
        "variant",
        "phase",
        "ms",
        "rounds",
        "above N",
        "tokens/s",
        "LoRA ms a step",
        "launches a step",
        "against A",
    )
    rows = [
        (
            cell.variant,
            cell.phase,
            f"{cell.ms:.2f}",
            f"{min(cell.medians_ms):.2f} to {max(cell.medians_ms):.2f}" if len(cell.medians_ms) > 1 else "one",
            "-" if cell.above_off_ms is None else f"{cell.above_off_ms:.2f}",
            f"{cell.tokens_per_s:.0f}",
            f"{cell.lora_ms_a_step:.2f}",
            f"{cell.launches_a_step:g}",
            cell.against_default or "",
        )
        for cell in found
    ]
    return table(title, columns, rows)


def _kernels(finished: Sequence[FinishedProcess]) -> TextTable:
    """Makes a row for each LoRA kernel in the profile of each variant's first process."""
    first = {each.variant.name: each for each in reversed(finished)}
    rows = [
        (
            name,
            phase.name,
            kernel.name,
            kernel.source,
            f"{kernel.launches / phase.profiled_steps:g}",
            us(kernel.time_us / kernel.launches),
            f"{kernel.time_us / phase.profiled_steps / 1e3:.2f}",
        )
        for name, each in reversed(first.items())
        for phase in each.result.phases
        for kernel in phase.lora_kernels
    ]
    columns = ("variant", "phase", "kernel", "of", "launches a step", "us a launch", "ms a step")
    return table("\nLoRA kernels, profiled after the timed runs", columns, rows)


def _processes(finished: Sequence[FinishedProcess]) -> TextTable:
    """Makes a row for each process."""
    rows = [
        (
            each.variant.name,
            each.variant.about,
            each.turn + 1,
            f"{each.result.start_s:.0f}",
            len(each.shown.files),
            each.shown.about,
            "off" if each.shown.plugin is None else each.shown.plugin,
            len(each.result.jit_compiles),
        )
        for each in finished
    ]
    columns = ("variant", "is", "round", "start s", "files read", "LoRA kernels of", "plug-in", "compiled while timed")
    return table("\nProcesses", columns, rows)


def _to_json(finished: Sequence[FinishedProcess], found: Sequence[Cell], lines: Sequence[str]) -> dict[str, Any]:
    """Returns the tables, with every process's own times behind them."""
    result = finished[0].result
    return {
        "gpu": result.gpu,
        "versions": dict(result.versions),
        "variants": {each.variant.name: each.variant.about for each in finished},
        "cells": [cell_to_json(cell) for cell in found],
        "processes": [process_to_json(each) for each in finished],
        "answers": [asdict(sameness) for sameness in answers(finished)],
        "verdicts": list(lines),
    }


def cell_to_json(cell: Cell) -> dict[str, Any]:
    """Returns a cell with what follows from it."""
    return asdict(cell) | {
        "ms": cell.ms,
        "lora_ms_a_step": cell.lora_ms_a_step,
        "launches_a_step": cell.launches_a_step,
    }


def process_to_json(each: FinishedProcess) -> dict[str, Any]:
    """Returns what a process showed of itself, with its own times."""
    return {
        "variant": each.variant.name,
        "round": each.turn + 1,
        "environment": dict(each.variant.environment),
        "start_s": each.result.start_s,
        "phases": [asdict(phase) for phase in each.result.phases],
        "jit_compiles": list(each.result.jit_compiles),
        "files_read": list(each.shown.files),
        "plugin": each.shown.plugin,
        "kernels_of": list(each.shown.sources),
    }
