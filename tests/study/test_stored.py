"""Trials are stored in a form that Optuna's own tools show well, and the search finds them as it made them."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.importance import get_param_importances
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from autotune.measure.recording import Recording
from autotune.measure.replay import ReplayBackend
from autotune.run.loop import SearchLoop
from autotune.run.options import Budget
from autotune.search.making import make_search
from autotune.study import trials
from autotune.study.stored_trial import StoredTrial

TRIALS = 30


def searched(study: optuna.Study, toy: Recording, count: int, sampler: str = "gp") -> list[FrozenTrial]:
    """Returns a study's trials after so many more measurements."""
    search = make_search(sampler, toy.space, 0, stop="none")
    SearchLoop(study, toy.space, search, ReplayBackend(toy)).run(Budget(0, more=count))
    return study.trials


def seen(trial: FrozenTrial) -> tuple[Any, ...]:
    """Returns all that a search knows of a trial."""
    return trial.params, trial.distributions, trial.state, trial.value, trial.intermediate_values, trial.user_attrs


def test_sizes_are_integers_and_doublings_are_on_a_log_scale(toy: Recording) -> None:
    (trial, *_) = searched(optuna.create_study(), toy, 1)
    assert trial.distributions == {
        "BLOCK_M": IntDistribution(16, 128, log=True),
        "BLOCK_N": IntDistribution(16, 128, log=True),
        "num_stages": IntDistribution(1, 4),
        "maxnreg": CategoricalDistribution((None, 64, 128)),
    }


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_every_timed_config_is_complete_and_importance_counts_it(toy: Recording, sampler: str) -> None:
    study = optuna.create_study()
    stored = searched(study, toy, TRIALS, sampler)
    early = [trial for trial in stored if StoredTrial.of(trial).was_given_up]
    assert len(early) > sum(StoredTrial.of(trial).was_timed_whole for trial in stored), "most configs are slow"
    assert {trial.state for trial in early} == {TrialState.COMPLETE}
    found = {m.index: m.time_us for m in trials.measured(stored, toy.space) if m.status == "pruned"}
    assert [found[toy.space.index(toy.space.config(trial.params))] for trial in early] == [t.value for t in early]
    assert not StoredTrial.of(study.best_trial).was_given_up
    assert max(get_param_importances(study).values()) > 0.1


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_search_that_goes_on_finds_its_trials_as_it_made_them(toy: Recording, sampler: str) -> None:
    study = optuna.create_study()
    loop = SearchLoop(study, toy.space, make_search(sampler, toy.space, 0, stop="none"), ReplayBackend(toy))
    loop.run(Budget(TRIALS))
    again = trials.working_copy(study, toy.space, RandomSampler())
    assert [seen(trial) for trial in again.trials] == [seen(trial) for trial in loop.study.trials]


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_study_of_an_older_release_goes_on_with_what_it_has(toy: Recording, sampler: str) -> None:
    """Its trials are as the search made them: categories, and pruned ones."""
    new = optuna.create_study()
    begun = searched(new, toy, TRIALS // 2, sampler)
    old = optuna.create_study()
    old.add_trials(trials.working_copy(new, toy.space, RandomSampler()).trials)
    assert TrialState.PRUNED in {trial.state for trial in old.trials}
    further = searched(old, toy, TRIALS // 2, sampler)
    assert [t.params for t in further] == [t.params for t in searched(new, toy, TRIALS // 2, sampler)]
    assert all(isinstance(found, CategoricalDistribution) for t in further for found in t.distributions.values())
    assert len(further) > len(begun)
