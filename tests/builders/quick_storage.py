"""Makes Optuna's SQL storages quicker at adding a finished trial, and changes nothing of what they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import insert
from sqlalchemy.orm import Session

_METHOD = "_get_prepared_new_trial"
_BY_OPTUNA = getattr(RDBStorage, _METHOD)


def install(patch: pytest.MonkeyPatch) -> None:
    """Has a finished trial stored by a statement a table.

    Optuna looks for each parameter, step and attribute of the trial before it adds it, which takes most of the time
    of a search that measures nothing.
    """
    patch.setattr(RDBStorage, _METHOD, _prepared)


def leave_to_optuna(patch: pytest.MonkeyPatch) -> None:
    """Has trials stored as they are without this module."""
    patch.setattr(RDBStorage, _METHOD, _BY_OPTUNA)


def _prepared(storage: RDBStorage, study_id: int, template: FrozenTrial | None, session: Session) -> models.TrialModel:
    if template is None or not template.state.is_finished() or storage.engine.name != "sqlite":
        made: models.TrialModel = _BY_OPTUNA(storage, study_id, template, session)
        return made
    times = {"datetime_start": template.datetime_start, "datetime_complete": template.datetime_complete}
    trial = models.TrialModel(study_id=study_id, number=None, state=template.state, **times)
    session.add(trial)
    session.flush()
    for table, rows in _rows(template):
        if rows:
            session.execute(insert(table), [{"trial_id": trial.trial_id, **row} for row in rows])
    trial.number = trial.count_past_trials(session)
    return trial


def _rows(trial: FrozenTrial) -> list[tuple[Any, list[dict[str, Any]]]]:
    """Lists the tables below a trial's own, and what it has in each."""
    values, steps = models.TrialValueModel, models.TrialIntermediateValueModel
    return [
        (values.__table__, [_value(*each) for each in enumerate(trial.values or ())]),
        (models.TrialParamModel.__table__, [_param(trial, name) for name in trial.params]),
        (models.TrialUserAttributeModel.__table__, _attributes(trial.user_attrs)),
        (models.TrialSystemAttributeModel.__table__, _attributes(trial.system_attrs)),
        (steps.__table__, [_step(*each) for each in trial.intermediate_values.items()]),
    ]


def _value(objective: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"objective": objective, "value": stored, "value_type": kind}


def _param(trial: FrozenTrial, name: str) -> dict[str, Any]:
    distribution = trial.distributions[name]
    value = distribution.to_internal_repr(trial.params[name])
    return {"param_name": name, "param_value": value, "distribution_json": distribution_to_json(distribution)}


def _step(step: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return {"step": step, "intermediate_value": stored, "intermediate_value_type": kind}


def _attributes(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
