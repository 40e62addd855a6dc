"""Writes what the pair launches with by default, beside shrink and expand apart, in docs/results.md.

It reads what docs/run_pair_defaults.py and docs/run_pair.py left in docs/data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from autotune.contract.gpu import H200
from autotune.kernels.lora_linear.kernel import LoraLinear
from results_page.runs import environment_text
from results_page.tables import Table, markdown
from run_pair_defaults import APART, EVERY_LAYER, name_of

ABOUT = (
    "Shrink and expand of a layer for few tokens, neither tuned: zeroing, shrink and expand one after the other → the "
    "pair by its default (its fastest of the configs tried), us; in graph replays with cold caches, 4 adapters. `-` is "
    "where the default is to run them apart. Layers of one slice are of a later run than those of several."
)

IDLE = (
    "With no adapter in use, as a graph is replayed that was captured with some: zeroing, shrink and expand by our "
    "defaults → the pair in one launch, by the config that is the fastest with adapters (times as long), us."
)

BESIDE = ("plugin-vllm-0.33.0-untuned.json", "plugin-vllm-0.33.0.json")
"""What has the times of the two ops that a pair replaces, and of which entries."""

APART_DEFAULTS = "apart by our defaults"
"""What docs/run_pair.py calls the three launches."""

_MODELS = {"Qwen3-8B": "qwen3-8b", "Llama-3.1-8B": "llama-3.1-8b"}


def section(data: Path) -> list[str]:
    """Writes the section; nothing where nothing was timed."""
    lines: list[str] = []
    for file in sorted(data.glob("pair-defaults-*.json")):
        found = json.loads(file.read_text())
        head = f"{ABOUT} Machine: {environment_text(found['environment'])}."
        lines += ["", head, "", *markdown(*table(found["rows"])), "", summary(found["rows"])]
        lines += [line for name in BESIDE for line in beside_server(data / name, found["rows"])]
    for file in sorted(data.glob("pair-race-*.json")):
        found = json.loads(file.read_text())
        lines += ["", f"{IDLE} Machine: {environment_text(found['environment'])}.", "", *idle(found["race"])]
    return ["", "### A layer as a pair", *lines] if lines else []


def table(rows: list[dict[str, Any]]) -> Table:
    """Makes a row a layer, a column an m."""
    ms = sorted({row["m"] for row in rows})
    cells = {(row["layer"], row["m"]): _cell(row) for row in rows}
    layers = [layer for layer in EVERY_LAYER if (layer.name, ms[0]) in cells]
    head = ("layer, rank", *(f"m {m}" for m in ms))
    return head, [[f"{each.name}, {each.rank}", *(cells.get((each.name, m), "") for m in ms)] for each in layers]


def summary(rows: list[dict[str, Any]]) -> str:
    """Says what the default takes of the time of the three launches."""
    ratios = [default / row["us"][APART] for row in rows if (default := default_us(row)) is not None]
    return (
        f"{len(ratios)} of {len(rows)} cells have a default: it takes {geometric_mean(ratios):.2f}x the time "
        f"(geometric mean), at least {min(ratios):.2f}x and at most {max(ratios):.2f}x."
    )


def beside_server(file: Path, rows: list[dict[str, Any]]) -> list[str]:
    """Compares the pair by its default with the server's shrink and expand of the same layer, each by itself."""
    if not file.exists():
        return []
    own: dict[tuple[str, int], list[float]] = {}
    for row in json.loads(file.read_text())["rows"]:
        own.setdefault((f"{_MODELS.get(row['model'])}/{row['layer']}", row["m"]), []).append(row["own_us"])
    ratios = []
    for row in rows:
        both, pair = own.get((row["layer"], row["m"]), []), default_us(row)
        if pair is not None and len(both) == 2:  # its shrink and its expand
            ratios.append(pair / sum(both))
    if not ratios:
        return []
    which = "without a file" if "untuned" in file.name else "tuned"
    return [
        "",
        f"Beside vLLM 0.33.0's own shrink and expand, {which}, each timed by itself (above), the pair by its default "
        f"takes {geometric_mean(ratios):.2f}x the time of the two ({len(ratios)} cells), {min(ratios):.2f}x to "
        f"{max(ratios):.2f}x.",
    ]


def idle(rows: list[dict[str, Any]]) -> list[str]:
    """Compares a launch that finds no adapter with those that it replaces."""
    ms = sorted({row["m"] for row in rows})
    cells, ratios, times = {}, [], []
    for row in rows:
        us, ratio = row["no_lora_us"], row["no_lora_one_launch_ratio"]
        alone = min(value for name, value in us.items() if name.endswith("/1"))
        cells[row["layer"], row["m"]] = f"{us[APART_DEFAULTS]:.1f} → {alone:.2f} ({ratio:.2f}x)"
        ratios.append(ratio)
        times.append(alone)
    body = [[layer, *(cells.get((layer, m), "") for m in ms)] for layer in dict.fromkeys(row["layer"] for row in rows)]
    told = (
        f"{geometric_mean(ratios):.2f}x the time (geometric mean), {min(ratios):.2f}x to {max(ratios):.2f}x, and at "
        f"most 0.40x in {sum(ratio <= 0.4 for ratio in ratios)} of {len(ratios)} cells. No launch takes less than "
        f"{min(times):.2f} us here; beyond that it is thread blocks that come and go, of which wide layers have many."
    )
    return [*markdown(("layer", *(f"m {m}" for m in ms)), body), "", told]


def default_us(row: Mapping[str, Any]) -> float | None:
    """Returns the time of the pair by its default; None where the default is to run apart, or was not timed."""
    (layer,) = (each for each in EVERY_LAYER if each.name == row["layer"])
    default = LoraLinear().own_default(layer.problem(row["m"]), H200)
    found: float | None = None if default is None else row["us"].get(name_of(default))
    return found


def _cell(row: Mapping[str, Any]) -> str:
    us = row["us"]
    if (default := default_us(row)) is None:
        return "-"
    fastest = min(value for name, value in us.items() if name != APART)
    return f"{us[APART]:.1f} → {default:.1f} ({fastest:.1f})"
