"""A trial's row tells what was stored about it, and nothing else."""

from __future__ import annotations

import optuna
from optuna.trial import TrialState, create_trial

from autotune.report.trials import csv_rows, trial_rows
from autotune.study.study import KernelStudy
from tests.builders.double_study import SPEC


def study_of(*found: optuna.trial.FrozenTrial) -> KernelStudy:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(study_name="one", storage=storage)
    study.add_trials(found)
    return KernelStudy(study, SPEC, storage)


def test_a_timed_trial_has_its_median_and_resources() -> None:
    noted = {"status": "ok", "compile_s": 0.0, "registers": 32, "workloads_us": {"decode": 2.0}, "by hand": "yes"}
    timed = create_trial(value=2.0, intermediate_values={0: 3.0, 1: 1.0, 2: 2.0}, user_attrs=noted)
    (row,) = trial_rows(study_of(timed))
    assert (row.median_us, row.registers, row.message) == (2.0, 32, None)
    found = row.to_json()
    assert found["by hand"] == "yes"
    assert found["compile_s"] == 0.0
    assert not {"message", "attributes", "shared_bytes"} & set(found)
    (line,) = csv_rows(study_of(timed))
    assert (line["study"], line["median_us"], line["decode us"], line["message"]) == ("one", 2.0, 2.0, None)


def test_a_trial_without_a_status_has_optunas() -> None:
    (row,) = trial_rows(study_of(create_trial(state=TrialState.FAIL)))
    assert (row.status, row.median_us) == ("fail", None)
