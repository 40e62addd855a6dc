"""Traces as the plug-in writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autotune.servers.trace_line import Rows, SeenLaunches, SeenLookup, batches_line, lookup_line

RANK, LORAS = 16, 4


def seen(op: str, dims: Mapping[str, int], rows: Rows = "tokens", **details: Any) -> SeenLookup:
    told = tuple(details.items())
    return SeenLookup("vllm", "0.33.0", op, tuple(dims.items()), told, "bfloat16", rows)


def linear(k: int, *widths: int, rows: Rows = "tokens", **details: Any) -> list[SeenLookup]:
    """Returns the lookups of a linear layer of vLLM's."""
    shared = {"max_loras": LORAS + 1, "num_slices": len(widths)}
    shrink = seen("shrink", {**shared, "k": k, "n": RANK}, rows, **details)
    dims = {**shared, "k": RANK, "n": max(widths), "add_inputs": 1}
    return [shrink, seen("expand", dims, rows, slice_widths=widths, **details)]


def experts(hidden: int, width: int, **changes: Any) -> list[SeenLookup]:
    """Returns the lookups of a layer of gated experts."""
    details = {"num_experts": 64, "top_k_num": 8, "fully_sharded": 0, "expand_add_inputs": 1, **changes}
    return [
        seen(
            f"fused_moe_lora_{weight}_{op}",
            {"max_loras": LORAS, "num_slices": slices, "k": RANK, "n": hidden, "i": width},
            **details,
        )
        for weight, slices in (("w13", 2), ("w2", 1))
        for op in ("shrink", "expand")
    ]


def write(
    path: Path,
    lookups: Iterable[tuple[SeenLookup, SeenLaunches]],
    batches: Mapping[Rows, Mapping[int, int]],
    process: str = "host-1",
) -> Path:
    """Appends a process's lines."""
    lines = [lookup_line(process, each, launches) for each, launches in lookups]
    lines += [batches_line(process, "vllm", rows, counts) for rows, counts in batches.items()]
    with path.open("a") as file:
        file.writelines(f"{json.dumps(line)}\n" for line in lines)
    return path
