"""A made-up kernel whose every time is known, and two recorded spaces of it."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
from pathlib import Path

TOY = "toy_op_M16_K64"
SMALL = "toy_op_M32_K64"
_COLUMNS = ("BLOCK_M", "BLOCK_N", "num_stages", "maxnreg")
_VALUES = ((16, 32, 64, 128), (16, 32, 64, 128), (1, 2, 3, 4), (None, 64, 128))
_SHARED_LIMIT = 128 * 64 * 3
"""Out of resources at this much: so one in six fails."""


def _time_us(m: int, n: int, stages: int, registers: int | None) -> float:
    spill = 1.5 if registers == 64 and m * n >= 64 * 64 else 1.0
    return spill * (10 + 4 * math.log2(m / 64) ** 2 + 3 * math.log2(m * n / 2048) ** 2 + 2 / stages + (registers == 64))


def _rows() -> list[dict[str, object]]:
    rows = []
    for config in itertools.product(*_VALUES):
        row = dict(zip(_COLUMNS, ["" if v is None else v for v in config], strict=True))
        m, n, stages, registers = config
        if m * n * stages >= _SHARED_LIMIT:
            rows.append(row | {"status": "OutOfResources", "compile_s": 0.4, "ms": "", "ms_min": "", "ms_max": ""})
            continue
        ms = _time_us(m, n, stages, registers) / 1e3
        rows.append(row | {"status": "ok", "compile_s": 0.4, "ms": ms, "ms_min": 0.995 * ms, "ms_max": 1.01 * ms})
    return rows


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_toy_spaces(folder: Path) -> None:
    """Writes the spaces: 192 configs, and 12 of them."""
    rows = _rows()
    _write(folder / f"{TOY}.csv.gz", rows)
    _write(folder / f"{SMALL}.csv.gz", rows[:12])
