"""Lists the trials of a study, one row each: for `study show`, JSON and CSV files."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from autotune.study.stored_study import StoredStudy
from autotune.study.stored_trial import StoredTrial

_CSV_COLUMNS = ("status", "message", "median_us", "registers", "spill_bytes", "shared_bytes", "compile_s", "measure_s")


@dataclass(frozen=True)
class TrialRow:
    """One trial, as the storage has it: what was not stored about it is None.

    Attributes:
        status: How it ended, or Optuna's name of its state.
        params: Value of each tuned parameter.
        samples_us: Its time in each replay.
        workloads_us: Its time on each workload, where there are several.
        attributes: All that the storage holds besides, in its order; what another program has noted is among it.
    """

    number: int
    status: str
    params: Mapping[str, Any]
    samples_us: tuple[float, ...]
    message: str | None = None
    error_ratio: float | None = None
    compile_s: float | None = None
    measure_s: float | None = None
    workloads_us: Mapping[str, float] | None = None
    registers: int | None = None
    spill_bytes: int | None = None
    shared_bytes: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median_us(self) -> float | None:
        return statistics.median(self.samples_us) if self.samples_us else None

    def to_json(self) -> dict[str, Any]:
        """Leaves out what was not stored."""
        return {
            "number": self.number,
            "status": self.status,
            "params": self.params,
            "median_us": self.median_us,
            "samples_us": self.samples_us,
            **self.attributes,
        }


_STORED = tuple(each.name for each in fields(TrialRow) if each.default is None)
"""The fields that stand in a trial's user attributes, by the same names (`autotune.study.trials`)."""


def trial_rows(item: StoredStudy) -> list[TrialRow]:
    """Reads all trials of a study."""
    return [_row(trial) for trial in item.trials()]


def csv_rows(item: StoredStudy) -> list[dict[str, Any]]:
    """Returns one flat row per trial, for a CSV file."""
    about = {"study": item.name, "kernel": item.spec.kernel, "gpu": item.spec.gpu.name, **item.spec.problem}
    rows = []
    for row in trial_rows(item):
        by_workload = {f"{name} us": time_us for name, time_us in (row.workloads_us or {}).items()}
        rows.append({**about, **row.params, **{name: getattr(row, name) for name in _CSV_COLUMNS}, **by_workload})
    return rows


def _row(trial: StoredTrial) -> TrialRow:
    attributes = {name: value for name, value in trial.user_attrs.items() if name != "status"}
    return TrialRow(
        number=trial.number,
        status=trial.status or trial.state.lower(),
        params=trial.params,
        samples_us=tuple(trial.intermediate_values.values()),
        **{name: attributes[name] for name in _STORED if name in attributes},
        attributes=attributes,
    )
