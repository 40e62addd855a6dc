"""Writes what bounds the csgmv shrink, in docs/results.md: plain products of its sizes, beside our kernel and SGLang's.

It reads what docs/run_plain_shrink.py and docs/run_csgmv_plugin.py left in docs/data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from autotune.errors import one_of
from results_page.runs import environment_text
from results_page.tables import Table, markdown
from run_plain_shrink import CHUNK_SIZES, MODEL, TOKENS

_BACKEND: Final = "plugin-sglang-0.5.23.json"
_BATCH: Final = "one adapter"

ABOUT = (
    f"{MODEL}, {TOKENS} tokens of one adapter, bfloat16, us: products that know nothing of permutations, segments, "
    "ranks or batches (`docs/run_plain_shrink.py`), cuBLAS and the fastest of some tiles of Triton by pointers and by "
    "tensor descriptors, and ours by its default with all of its semantics, in one run; in brackets, over cuBLAS. "
    "SGLang's own, tuned, is of the table of its backend above, of another run."
)
WIDER: Final = (
    " Blocks of 256 rows, which read the weights less often, took 24.7 to 25.4 us for gate_up and 52.7 to 54.5 for "
    "down, on another machine of the kind, where blocks of 128 took 23.3 and 50.1."
)
ASKED: Final = 1.15
"""How many times as fast as SGLang's own ours is to be."""
SHORT: Final = ("gate_up", "down")
"""Layers where it is not, in such chunks."""


def section(data: Path) -> list[str]:
    """Writes the section; nothing where nothing was timed."""
    lines: list[str] = []
    own = json.loads((data / _BACKEND).read_text())["rows"]
    for file in sorted(data.glob("plain-shrink-*.json")):
        found = json.loads(file.read_text())
        machine = f"Machine: {environment_text(found['environment'])}."
        lines += ["", f"{ABOUT} {machine}", "", *markdown(*table(found["rows"], own)), ""]
        lines.append(" ".join(_asked(row, own) for row in found["rows"] if row["layer"] in SHORT) + WIDER)
    return ["", "### What bounds the shrink", *lines] if lines else []


def table(rows: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> Table:
    """Makes a row a layer.

    Args:
        own: Rows of the backend's methods.
    """
    ours = [f"ours {size}" for size in CHUNK_SIZES]
    head = ("layer", "cuBLAS", "pointers", "descriptors", *ours, *(f"SGLang's own {size}" for size in CHUNK_SIZES))
    return head, [
        [
            row["layer"],
            f"{row['cublas']:.1f}",
            *(_beside(row[kind]["us"], row) for kind in ("pointers", "described")),
            *(_beside(row[name], row) for name in ours),
            *(_beside(_own_us(own, row["layer"], size), row) for size in CHUNK_SIZES),
        ]
        for row in rows
    ]


def _asked(row: Mapping[str, Any], own: Sequence[Mapping[str, Any]]) -> str:
    """Says what `ASKED` comes to, beside the fastest product without semantics."""
    asked = one_of(f"{_own_us(own, row['layer'], size) / ASKED:.1f}" for size in CHUNK_SIZES)
    plain_us = min(row["cublas"], row["pointers"]["us"], row["described"]["us"])
    return (
        f"{ASKED}x as fast as SGLang's own would be {asked} us for {row['layer']}, in chunks of {one_of(CHUNK_SIZES)}; "
        f"the fastest product without semantics takes {plain_us:.1f}."
    )


def _beside(us: float, row: Mapping[str, Any]) -> str:
    return f"{us:.1f} ({us / row['cublas']:.2f}x)"


def _own_us(own: Sequence[Mapping[str, Any]], layer: str, chunk_size: int) -> float:
    (found,) = (
        row["own_us"]
        for row in own
        if (row["model"], row["layer"], row["op"], row["batch"], row["chunk_size"])
        == (MODEL, layer, "shrink", _BATCH, chunk_size)
    )
    return float(found)
