"""Giving a config up."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from autotune.search.pruning import GapPruner


def _study_with_best(best_us: float) -> optuna.Study:
    study = optuna.create_study()
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=best_us))
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=2 * best_us))
    return study


def _running(*samples: float) -> optuna.trial.FrozenTrial:
    return create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(samples)))


def test_prunes_on_the_fastest_of_three() -> None:
    study, pruner = _study_with_best(10.0), GapPruner()
    assert pruner.limit_us(study) == pytest.approx(10.5)
    assert pruner.prune(study, _running(12.0, 11.0, 10.6))
    assert not pruner.prune(study, _running(12.0, 11.0, 10.4))
    assert not pruner.prune(study, _running(12.0, 11.0)), "two samples say too little"
    assert not pruner.prune(study, _running(12.0, 11.0, 10.4, 99.0, 99.0)), "only the first three count"


def test_prunes_nothing_before_anything_is_measured() -> None:
    assert GapPruner().limit_us(optuna.create_study()) is None
    assert not GapPruner().prune(optuna.create_study(), _running(1.0, 1.0, 1.0))


def test_the_best_of_a_flat_landscape_survives() -> None:
    """All within 10%, 1.5% noise and outliers, as measured on a GPU: the true best is never given up."""
    pruner, rng = GapPruner(), np.random.default_rng(0)
    for _ in range(50):
        truth = rng.uniform(1.0, 1.1, 40)
        samples = truth[:, None] * (1 + np.abs(rng.normal(0, 0.015, (40, 20))) + 0.3 * (rng.random((40, 20)) < 0.05))
        best_us = float(np.median(samples, axis=1).min())
        assert not pruner.prune(_study_with_best(best_us), _running(*samples[truth.argmin()]))
