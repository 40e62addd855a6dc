"""How far every study of a storage is, counted by the database itself: reading 50,000 trials takes half a minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy import String, cast, column, func, select, table

_TRIALS = table("trials", column("trial_id"), column("study_id"), column("state"))
_VALUES = table("trial_values", column("trial_id"), column("value"))
"""The two tables of Optuna's schema that are read here; a test compares with what Optuna itself says."""


@dataclass(frozen=True)
class TrialCount:
    """The trials of one study.

    Attributes:
        trials: How many there are, of any state.
        best_us: The fastest time of them; None before one has succeeded.
    """

    trials: int = 0
    best_us: float | None = None


def count(storage: BaseStorage) -> Mapping[int, TrialCount]:
    """Counts the trials of every study that has any, by Optuna's number of the study."""
    if isinstance(storage, RDBStorage):
        return _count_in_database(storage)
    studies = [study._study_id for study in storage.get_all_studies()]
    return {study: _count_in_memory(storage, study) for study in studies}


def _count_in_database(storage: RDBStorage) -> dict[int, TrialCount]:
    trials, values = _TRIALS.c, _VALUES.c
    counted = select(trials.study_id, func.count()).group_by(trials.study_id)
    succeeded = _TRIALS.join(_VALUES, trials.trial_id == values.trial_id)
    best = (
        select(trials.study_id, func.min(values.value).label("best_us"))
        .select_from(succeeded)
        # Some databases keep the state as an enumeration of their own.
        .where(cast(trials.state, String) == TrialState.COMPLETE.name)
        .group_by(trials.study_id)
    )
    with storage.engine.connect() as connection:
        best_us = {row.study_id: row.best_us for row in connection.execute(best)}
        return {study: TrialCount(trials, best_us.get(study)) for study, trials in connection.execute(counted)}


def _count_in_memory(storage: BaseStorage, study_id: int) -> TrialCount:
    found = storage.get_all_trials(study_id, deepcopy=False)
    times = [trial.value for trial in found if trial.state == TrialState.COMPLETE and trial.value is not None]
    return TrialCount(len(found), min(times, default=None))
