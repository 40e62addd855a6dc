"""A made-up kernel whose every time is known, and the files of it."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from autotune.measure.recording import Recording
from autotune.measure.result import Measurement
from autotune.search.api import Search

optuna.logging.set_verbosity(optuna.logging.ERROR)

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
        if m * n * stages >= _SHARED_LIMIT:  # type: ignore[operator]
            rows.append(row | {"status": "OutOfResources", "compile_s": 0.4, "ms": "", "ms_min": "", "ms_max": ""})
            continue
        ms = _time_us(m, n, stages, registers) / 1e3  # type: ignore[arg-type]
        rows.append(row | {"status": "ok", "compile_s": 0.4, "ms": ms, "ms_min": 0.995 * ms, "ms_max": 1.01 * ms})
    return rows


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def recorded_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two recorded spaces of one kernel: 192 configs, and 12 of them."""
    folder = tmp_path_factory.mktemp("recorded")
    rows = _rows()
    _write(folder / "toy_op_M16_K64.csv.gz", rows)
    _write(folder / "toy_op_M32_K64.csv.gz", rows[:12])
    return folder


@pytest.fixture(scope="session")
def toy(recorded_dir: Path) -> Recording:
    from autotune.measure.recording import load

    return load(recorded_dir / "toy_op_M16_K64.csv.gz")


@pytest.fixture(scope="session")
def small(recorded_dir: Path) -> Recording:
    from autotune.measure.recording import load

    return load(recorded_dir / "toy_op_M32_K64.csv.gz")


Replay = Callable[..., list[tuple[int, Measurement]]]


@pytest.fixture(scope="session")
def replay() -> Replay:
    """Run a search in the tuning loop on a recording; positions and measurements in the order they came."""
    from autotune.measure.replay import ReplayBackend
    from autotune.run.loop import Budget, SearchLoop

    def run(
        recording: Recording, search: Search, trials: int, study: optuna.Study | None = None
    ) -> list[tuple[int, Measurement]]:
        study = study or optuna.create_study()
        study.sampler = search.sampler
        told: list[tuple[int, Measurement]] = []
        loop = SearchLoop(study, recording.space, search, ReplayBackend(recording))
        loop.run(Budget(trials), lambda config, m: told.append((recording.space.index(config), m)))
        return told

    return run
