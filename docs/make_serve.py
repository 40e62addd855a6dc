"""The first section of docs/results.md: what a folder is worth on the server's own engine.

`make_results.py` calls it with the data that docs/run_serve.sh left in docs/data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Table = tuple[list[str], list[list[str]]]


def times(run: Mapping[str, Any]) -> Table:
    """Makes a row a variant, a column a phase: milliseconds, and how many of them are above LoRA off."""
    phases = list(dict.fromkeys(cell["phase"] for cell in run["cells"]))
    rows = []
    for variant, about in run["variants"].items():
        cells = {cell["phase"]: cell for cell in run["cells"] if cell["variant"] == variant}
        rows.append([f"{variant}: {about}", *(_cell(cells[phase]) for phase in phases)])
    return ["variant", *(f"{phase}, ms" for phase in phases)], rows


def costs(run: Mapping[str, Any]) -> Table:
    """Makes a row a variant that serves adapters, a column a phase: what LoRA costs, in milliseconds above LoRA off."""
    phases = list(dict.fromkeys(cell["phase"] for cell in run["cells"]))
    rows = []
    for variant, about in run["variants"].items():
        cells = {cell["phase"]: cell for cell in run["cells"] if cell["variant"] == variant}
        if cells[phases[0]]["against_default"] is not None or variant == "A":
            rows.append([about, *(f"{cells[phase]['above_off_ms']:.2f}" for phase in phases)])
    return ["what LoRA costs, ms above LoRA off", *phases], rows


def kernels(run: Mapping[str, Any]) -> Table:
    """Makes a row a variant, a column a phase: GPU milliseconds of LoRA kernels a step, and their launches."""
    phases = list(dict.fromkeys(cell["phase"] for cell in run["cells"]))
    rows = []
    for variant in run["variants"]:
        cells = {cell["phase"]: cell for cell in run["cells"] if cell["variant"] == variant}
        rows.append([variant, *(_kernels_of(cells[phase]) for phase in phases)])
    return ["variant", *phases], rows


def about(run: Mapping[str, Any]) -> str:
    """Says what was run, where and how often."""
    versions = ", ".join(f"{name} {text}" for name, text in run["versions"].items())
    rounds = max(process["round"] for process in run["processes"])
    times_each = "one process" if rounds == 1 else f"{rounds} processes"
    return f"{run['note']} {run['gpu']}, {versions}; {times_each} of each variant."


def _kernels_of(cell: Mapping[str, Any]) -> str:
    steps = cell["profiled_steps"]
    return f"{cell['lora_kernels_ms'] / steps:.2f} in {cell['launches'] / steps:g}"


def _cell(cell: Mapping[str, Any]) -> str:
    low, high = min(cell["medians_ms"]), max(cell["medians_ms"])
    spread = f" ({low:.2f} to {high:.2f})" if high > low else ""
    above = "" if cell["above_off_ms"] is None else f", {cell['above_off_ms']:.2f} above N"
    return f"{cell['ms']:.2f}{spread}{above}"
