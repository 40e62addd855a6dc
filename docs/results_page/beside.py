"""Writes what LoRA takes where its shrink runs beside the base's product, in docs/results.md.

It reads what docs/run_shrink_beside.py left in docs/data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune.servers.vllm.linear import MOST_TOKENS
from autotune.servers.vllm.plugin.shrink_beside import FEWEST, MOST_CAPTURED
from results_page.runs import environment_text
from results_page.tables import Table, markdown

ABOUT = (
    "LoRA in the linear layers of a decoder block (the base's products and nothing else), rank 16 (qwen3-8b) and 64 "
    "(llama-3.1-8b), 4 adapters, our kernels by their defaults, weights from memory, one CUDA graph of eight blocks "
    "(two from 1024 tokens on): microseconds a block above those of the products alone, by where the shrink runs. The "
    f"plug-in runs it beside the product in captured batches of up to {MOST_CAPTURED} tokens, and from {FEWEST} on."
)


def section(data: Path) -> list[str]:
    """Writes the section; nothing where nothing was timed."""
    lines: list[str] = []
    for file in sorted(data.glob("shrink-beside-*.json")):
        found = json.loads(file.read_text())
        lines += [
            "",
            f"{ABOUT} Machine: {environment_text(found['environment'])}.",
            "",
            *markdown(*table(found["rows"])),
        ]
    return ["", "### The shrink beside the base's product", *lines] if lines else []


def table(rows: list[dict[str, Any]]) -> Table:
    """Makes a row a model at an m."""
    head = ("model", "m", "products", "LoRA after them", "as pairs", "the shrink beside them", "of after")
    return head, [
        [
            row["model"],
            str(row["m"]),
            f"{row['base_us']:.0f}",
            f"{row['after']:.1f}",
            f"{row['pair']:.1f}" if row["m"] <= MOST_TOKENS else "",
            f"{row['beside']:.1f}",
            f"{row['beside'] / row['after']:.2f}x",
        ]
        for row in rows
    ]
