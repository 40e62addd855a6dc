"""Trials are counted without being read, to what Optuna itself says."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import TrialState, create_trial

from autotune.study import counting, studies
from autotune.study.counting import TrialCount
from autotune.study.storage import open_storage
from tests.builders.double_study import SPEC

TRIALS = [create_trial(value=3.0), create_trial(value=2.0), create_trial(state=TrialState.FAIL)]
PRUNED = create_trial(state=TrialState.PRUNED, value=1.0, intermediate_values={0: 1.0})


@pytest.fixture(params=["file", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> BaseStorage:
    return InMemoryStorage() if request.param == "memory" else open_storage(f"sqlite:///{tmp_path}/a.db", create=True)


def test_every_study_is_counted_by_itself(storage: BaseStorage) -> None:
    for name, trials in (("one", [*TRIALS, PRUNED]), ("none", []), ("failed", TRIALS[2:])):
        studies.create(storage, name, SPEC).study.add_trials(trials)
    found = {standing.summary.name: standing.count for standing in studies.counted(storage)}
    assert found == {"one": TrialCount(4, 2.0), "none": TrialCount(), "failed": TrialCount(1)}
    assert found["one"].best_us == optuna.load_study(storage=storage, study_name="one").best_value


def test_no_trial_is_read(storage: BaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    studies.create(storage, "one", SPEC).study.add_trials(TRIALS)
    expected = counting.count(storage)
    if isinstance(storage, InMemoryStorage):
        pytest.skip("a storage in memory has its trials at hand")
    monkeypatch.setattr(type(storage), "get_all_trials", None)
    assert counting.count(storage) == expected
