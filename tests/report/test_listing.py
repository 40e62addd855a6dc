"""Where studies stand, before, during and after their runs."""

from __future__ import annotations

from dataclasses import replace

import optuna
from optuna.trial import TrialState, create_trial

from autotune.report.listing import state_of
from autotune.study.study import KernelStudy
from tests.builders.double_study import SPEC
from tests.builders.study_results import study_result


def test_a_study_is_new_then_started_then_decided() -> None:
    study = KernelStudy(optuna.create_study(study_name="one"), SPEC)
    new = state_of(study)
    assert (new.state, new.trials, new.best_us) == ("new", 0, None)
    study.study.add_trials([create_trial(value=3.0), create_trial(value=2.0), create_trial(state=TrialState.FAIL)])
    started = state_of(study)
    assert (started.state, started.trials, started.best_us) == ("started", 3, 2.0)
    study.finish(study_result())
    assert state_of(study).state == "tuned"


def test_json_names_a_group_only_where_there_is_one() -> None:
    study = optuna.create_study(study_name="one")
    assert "group" not in state_of(KernelStudy(study, SPEC)).to_json()
    assert state_of(KernelStudy(study, replace(SPEC, group="together"))).to_json()["group"] == "together"
