"""Writes the section on our kernels in a server's place in docs/results.md: op by op, by the server's own entry.

It reads what docs/run_plugin.py, docs/run_moe_plugin.py and docs/run_csgmv_plugin.py left in docs/data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decoder_models import MODELS, SPLIT
from results_page.runs import environment_text
from results_page.tables import Table, markdown

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Part:
    """One file of rows, and how its table is laid out.

    Attributes:
        about: What was timed against what.
        down: Keys whose values name a row.
        across: The key whose values are the columns.
    """

    file: str
    title: str
    about: str
    down: tuple[str, ...]
    across: str


PARTS = (
    Part(
        "plugin-vllm-0.33.0.json",
        "vLLM 0.33.0's dense ops, both sides tuned",
        "The op as the server calls it, with the plug-in and without. Of Qwen3-8B the server's own was searched at m "
        "16, 64, 512 and 8192 and raced at 1, 1024, 2048 and 4096, ours, of qkv and o, at all powers of two; of Llama "
        "both were searched at 16, 64, 1024 and 8192 and raced at 128, 256, 512, 2048 and 4096, with 8 adapters; "
        "between, both take the entry of the nearest, and ours its default where its file has none. Shrinks of "
        "Qwen3-8B, and of Llama up to m 64, are of a later run, since which ours zeroes by a launch of its own: of "
        "Qwen3-8B's 77 entries the 23 that are worth most were searched, and of Llama the server's own is the faster "
        "one of both runs. The server's own, "
        "us → ours, us (times as fast, share of the copy floor).",
        ("model", "layer", "op"),
        "m",
    ),
    Part(
        "plugin-vllm-0.33.0-untuned.json",
        "vLLM 0.33.0's dense ops, neither side tuned",
        "The same with no folder, with our kernels as they are now: the server's default against ours. Each cell is of "
        "the race that launched what is the default now, of several that chose it; shrinks are of the last one.",
        ("model", "layer", "op"),
        "m",
    ),
    Part(
        "plugin-moe-vllm-0.33.0.json",
        "vLLM 0.33.0's experts",
        "One call of `fused_moe_lora`, one-shot kernels, ours by its defaults; block_m is what the server has aligned "
        "to: the base model's tiles, or what a folder says; calls without an entry in full blocks of 128 rows are left "
        "to the server's own kernel.",
        ("model", "side", "block_m"),
        "m",
    ),
    Part(
        "plugin-sglang-0.5.23.json",
        "SGLang 0.5.23's csgmv backend, its own tuned, ours by its defaults",
        "The backend's own methods, with the plug-in and without; 30,720 tokens of prompts, or a decode batch in a "
        "graph's buffer with room for 256 requests. The server's own were tuned on both.",
        ("model", "layer", "op", "batch"),
        "chunk_size",
    ),
    Part(
        "plugin-sglang-0.5.23-tuned.json",
        "SGLang 0.5.23's csgmv backend, both sides tuned",
        "The same, with ours tuned on prompts, too; decode batches run our defaults, as above.",
        ("model", "layer", "op", "batch"),
        "chunk_size",
    ),
    Part(
        "plugin-sglang-0.5.23-untuned.json",
        "SGLang 0.5.23's csgmv backend, neither side tuned here",
        "The same with no folder: SGLang's own with the files that it brings (of Qwen3-Embedding-0.6B's shapes), else "
        "by its defaults.",
        ("model", "layer", "op", "batch"),
        "chunk_size",
    ),
)


STEPS = (
    "All these launches of one step, in every block of the model, ms; the floor is the time of a copy of as many bytes "
    "as they must read and write:"
)

DECODE_STEPS = "All these launches of one decode step, in every block of the model, ms:"


def section(data: Path) -> list[str]:
    """Writes a table for each file that is there."""
    lines: list[str] = []
    for part in PARTS:
        if (file := data / part.file).exists():
            found = json.loads(file.read_text())
            about = f"{part.about} Machine: {environment_text(found['environment'])}."
            lines += ["", f"### {part.title}", "", about, "", *markdown(*table(part, found["rows"]))]
            lines += ["", summary(found["rows"])]
            if part.across == "m" and (of_steps := steps(found["rows"])):
                lines += ["", STEPS, "", *markdown(*of_steps)]
            if part.across == "chunk_size":
                lines += ["", DECODE_STEPS, "", *markdown(*decode_steps(found["rows"]))]
    title = "## This project's kernels in the server's place"
    return ["", title, *lines] if lines else []


def table(part: Part, rows: Rows) -> Table:
    """Lays rows out; a place that was not timed stays empty."""
    columns = sorted({row[part.across] for row in rows})
    names = list(dict.fromkeys(_place(part, row) for row in rows))
    cells = {(_place(part, row), row[part.across]): _cell(row) for row in rows}
    head = (", ".join(part.down), *(f"{part.across} {column}" for column in columns))
    return head, [[name, *(cells.get((name, column), "") for column in columns)] for name in names]


def steps(rows: Rows) -> Table | None:
    """Adds up what all launches of a step take, at each m of which all were timed; None if there is none."""
    lines: list[list[str]] = []
    blocks = {model.name: model.blocks for model in MODELS}
    known = (model for model in dict.fromkeys(row["model"] for row in rows) if model.partition(SPLIT)[0] in blocks)
    for model in known:
        timed = [row for row in rows if row["model"] == model and "layer" in row and "floor_us" in row]
        for m in sorted({row["m"] for row in timed}):
            of_step = [row for row in timed if row["m"] == m]
            if {(row["layer"], row["op"]) for row in of_step} == {(row["layer"], row["op"]) for row in timed}:
                of_block = blocks[model.partition(SPLIT)[0]]
                lines.append([f"{model} m {m}", *_sums_ms(of_step, of_block, "own_us", "ours_us", "floor_us")])
    return (("step", "the server's own", "ours", "floor"), lines) if lines else None


def decode_steps(rows: Rows) -> Table:
    """Adds up what the launches of a step of each decode batch take."""
    blocks = {model.name: model.blocks for model in MODELS}
    timed = [row for row in rows if row["batch"].startswith("decode")]
    lines = []
    for model, batch in dict.fromkeys((row["model"], row["batch"]) for row in timed):
        of_step = [row for row in timed if (row["model"], row["batch"]) == (model, batch)]
        lines.append([f"{model} {batch}", *_sums_ms(of_step, blocks[model], "own_us", "ours_us")])
    return ("step", "the server's own", "ours"), lines


def summary(rows: Rows) -> str:
    """Says where the server's own is faster, beyond one part in a hundred."""
    slower = [row for row in rows if row["ratio"] < 0.99]
    least = min(row["ratio"] for row in rows)
    most = max(row["ratio"] for row in rows)
    lost = f"{len(slower)} slower than the server's own by more than 1%"
    return f"{len(rows)} cells: {least:.2f}x to {most:.2f}x as fast; {lost}."


def _sums_ms(of_block: Rows, blocks: int, *keys: str) -> list[str]:
    """Adds up what the launches of a block take, over all blocks."""
    return [f"{sum(row[key] for row in of_block) * blocks / 1e3:.2f}" for key in keys]


def _place(part: Part, row: Mapping[str, Any]) -> str:
    return " ".join(str(row[key]) for key in part.down)


def _cell(row: Mapping[str, Any]) -> str:
    floor = f", {row['floor_us'] / row['ours_us']:.0%}" if "floor_us" in row else ""
    return f"{_us(row['own_us'])} → {_us(row['ours_us'])} ({row['ratio']:.2f}x{floor})"


def _us(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
