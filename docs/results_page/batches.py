"""Writes what entries of SGLang's own kernels are worth by what they were tuned on, in docs/results.md.

It reads what `docs/run_served.py never-slower ... --decode N,N` left in docs/data of two folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any, Final

from results_page.runs import environment_text
from results_page.served import SLOWER
from results_page.tables import Table, markdown

FOLDERS: Final = {"prompts": "prompts alone", "both": "prompts and decode"}
"""Keys of a file, and what the entries of that folder were tuned on."""

ABOUT = (
    "Qwen3-Embedding-0.6B, rank 64, eight adapters: each entry beside the file that SGLang brings, on 30,720 tokens of "
    "prompts and on decode batches of so many requests, where the server cuts those into its chunks; interleaved, 40 "
    "rounds. How many times as fast the entries are (geometric mean; least), and how many are slower by 1% or more."
)


def section(data: Path) -> list[str]:
    """Writes the section; nothing where nothing was timed."""
    lines: list[str] = []
    for file in sorted(data.glob("batches-sglang-*.json")):
        found = json.loads(file.read_text())
        machine = f"Machine: {environment_text(found['environment'])}."
        version = file.stem.removeprefix("batches-sglang-")
        lines += ["", f"SGLang {version}. {ABOUT} {machine}", "", *markdown(*table(found))]
    return ["", "### SGLang's own kernels, by what their entries were tuned on", *lines] if lines else []


def table(found: Mapping[str, Any]) -> Table:
    """Makes a row an op and a kind of batches, a column a folder."""
    rows = {name: found[name] for name in FOLDERS}
    kinds = sorted({_kind(row) for each in rows.values() for row in each})
    head = ("op", "batches", *(f"tuned on {what}" for what in FOLDERS.values()))
    return head, [
        [kind[0], f"{kind[1]} requests" if kind[1] else "prompts", *(_cell(rows[name], kind) for name in FOLDERS)]
        for kind in kinds
    ]


def _kind(row: Mapping[str, Any]) -> tuple[str, int]:
    """Returns the op, and the requests of a decode batch; 0 of prompts."""
    requests = re.match(r"t(\d+)-.*-decode-", row["problem"])
    return row["kernel"].partition("@")[0].removeprefix("csgmv_"), int(requests[1]) if requests else 0


def _cell(rows: Sequence[Mapping[str, Any]], kind: tuple[str, int]) -> str:
    gains = [row["gain"] for row in rows if _kind(row) == kind]
    faster = [1 / (1 - gain) for gain in gains]
    slower = sum(gain <= -SLOWER for gain in gains)
    return f"{geometric_mean(faster):.2f}x ({min(faster):.2f}x), {slower} of {len(gains)}"
