"""Writes the first section of docs/results.md, and the table of the README: what a folder is worth on the engine.

It reads what docs/run_serve.sh left in docs/data.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results_page.tables import Table, markdown

OTHERS = (
    "Engines of later releases were not run: 0.33.0's wants torch 2.14, the machines have 2.11. Its kernels are timed "
    "in the sections that follow, as the server calls them."
)


def section(data: Path) -> list[str]:
    """Writes what a folder is worth on the server's own engine, with its own kernels."""
    lines: list[str] = []
    runs = [json.loads(file.read_text()) for file in sorted(data.glob("serve-*.json"))]
    for run in sorted(runs, key=lambda run: -len(run["processes"])):
        lines += ["", about(run), "", *markdown(*times(run)), ""]
        lines += [
            "GPU milliseconds of LoRA kernels and their launches, a step, from a short profile of the same process "
            "(launches that overlap count in full, each):",
            "",
        ]
        lines += [*markdown(*kernels(run)), "", *(f"- {line}" for line in run["verdicts"])]
    return ["", "## On vLLM's own engine, with its own kernels", "", OTHERS, *lines] if lines else []


def readme_table(run: Mapping[str, Any]) -> list[str]:
    """Makes the short table of what LoRA costs on the server's own engine."""
    shape, _, _ = run["note"].partition(";")
    more = "How they were run, and more: [docs/results.md](docs/results.md)."
    ran = Counter(process["variant"] for process in run["processes"])
    processes = f"{ran.total()} processes of the engine, at least {min(ran.values())} of each kind"
    return [*markdown(*costs(run)), "", f"{shape}. {_machine(run)}; medians of {processes}. {more}"]


def times(run: Mapping[str, Any]) -> Table:
    """Makes a row a variant, a column a phase: milliseconds, and how many of them are above LoRA off."""
    phases = _phases(run)
    rows = []
    for variant, meaning in _variants(run).items():
        cells = _by_phase(run, variant)
        rows.append([f"{variant}: {meaning}", *(_cell(cells[phase]) for phase in phases)])
    return ["variant", *(f"{phase}, ms" for phase in phases)], rows


def costs(run: Mapping[str, Any]) -> Table:
    """Makes a row a variant that serves adapters, a column a phase: what LoRA costs, in milliseconds above LoRA off."""
    phases = _phases(run)
    rows = []
    for variant, meaning in _variants(run).items():
        cells = _by_phase(run, variant)
        if cells[phases[0]]["against_default"] is not None or variant == "A":
            rows.append([meaning, *(f"{cells[phase]['above_off_ms']:.2f}" for phase in phases)])
    return ["what LoRA costs, ms above LoRA off", *phases], rows


def kernels(run: Mapping[str, Any]) -> Table:
    """Makes a row a variant, a column a phase: GPU milliseconds of LoRA kernels a step, and their launches."""
    phases = _phases(run)
    rows = []
    for variant in _variants(run):
        cells = _by_phase(run, variant)
        rows.append([variant, *(_kernels_of(cells[phase]) for phase in phases)])
    return ["variant", *phases], rows


def about(run: Mapping[str, Any]) -> str:
    """Says what was run, where and how often."""
    return f"{run['note'].removesuffix('.')}. {_machine(run)}; {_processes(run)}."


def _machine(run: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {text}" for name, text in run["versions"].items())
    return f"{run['gpu']}, {versions}"


def _processes(run: Mapping[str, Any]) -> str:
    counts = Counter(process["variant"] for process in run["processes"])
    if len(set(counts.values())) > 1:
        return "processes: " + ", ".join(f"{count} of {variant}" for variant, count in counts.items())
    [count] = set(counts.values())
    return "one process of each variant" if count == 1 else f"{count} processes of each variant"


def _variants(run: Mapping[str, Any]) -> dict[str, str]:
    """Returns those that ran: a run may have been cut short before others."""
    ran = {cell["variant"] for cell in run["cells"]}
    return {variant: meaning for variant, meaning in run["variants"].items() if variant in ran}


def _phases(run: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(cell["phase"] for cell in run["cells"]))


def _by_phase(run: Mapping[str, Any], variant: str) -> dict[str, Any]:
    return {cell["phase"]: cell for cell in run["cells"] if cell["variant"] == variant}


def _kernels_of(cell: Mapping[str, Any]) -> str:
    steps = cell["profiled_steps"]
    return f"{cell['lora_kernels_ms'] / steps:.2f} in {cell['launches'] / steps:g}"


def _cell(cell: Mapping[str, Any]) -> str:
    low, high = min(cell["medians_ms"]), max(cell["medians_ms"])
    spread = f" ({low:.2f} to {high:.2f})" if high > low else ""
    above = "" if cell["above_off_ms"] is None else f", {cell['above_off_ms']:.2f} above N"
    return f"{cell['ms']:.2f}{spread}{above}"
