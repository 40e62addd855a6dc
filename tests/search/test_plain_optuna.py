"""The samplers in studies that Optuna runs by its own means: no loop of ours, no status on a trial, several threads."""

from __future__ import annotations

import pickle

import optuna
import pytest
from optuna.distributions import BaseDistribution

from autotune.measure.recording import Recording
from autotune.measure.result import Measurement
from autotune.search import SAMPLERS
from autotune.search.history import Observer
from autotune.search.making import make_search
from autotune.search.pool import PoolSampler
from autotune.search.ranking import OrderSampler
from autotune.study import trials

PLAIN = 24
PRUNED, FAIL = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL


def time_us(toy: Recording, trial: optuna.Trial) -> float:
    """Returns what an objective of a user's own would do: suggest, run, return the time; fail where the config does."""
    params = {p.name: trial.suggest_categorical(p.name, p.values) for p in toy.space.tunable}
    found = toy.measurement(toy.space.config(params))
    if not found.samples_us:
        raise RuntimeError(found.message)
    return found.median_us


def positions(study: optuna.Study, toy: Recording) -> list[int]:
    return [toy.space.index(toy.space.config(trial.params)) for trial in study.trials]


@pytest.mark.parametrize("name", SAMPLERS)
def test_asked_and_told_by_hand_nothing_is_repeated(name: str, toy: Recording) -> None:
    study = optuna.create_study(sampler=make_search(name, toy.space, 0).sampler)
    for _ in range(PLAIN):
        trial = study.ask(toy.space.distributions)
        found = toy.measurement(toy.space.config(trial.params))
        study.tell(trial, found.median_us if found.samples_us else None, state=None if found.samples_us else FAIL)
    assert len(set(positions(study, toy))) == PLAIN


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("jobs", [1, 4])
def test_optimize_repeats_nothing_however_many_threads(name: str, jobs: int, toy: Recording) -> None:
    study = optuna.create_study(sampler=make_search(name, toy.space, 0).sampler)
    study.optimize(lambda trial: time_us(toy, trial), n_trials=PLAIN, n_jobs=jobs, catch=RuntimeError)
    assert len(set(positions(study, toy))) == len(study.trials) == PLAIN


def test_values_and_reports_teach_the_model(toy: Recording) -> None:
    study = optuna.create_study(sampler=PoolSampler(toy.space, 0))
    study.optimize(lambda trial: time_us(toy, trial), n_trials=40, catch=RuntimeError)
    assert study.best_value <= 1.01 * toy.best_us


def test_states_stand_in_for_a_status(toy: Recording) -> None:
    study = optuna.create_study(sampler=OrderSampler(toy.space, None))
    valued, reported, pruned, silent, failed = (study.ask(toy.space.distributions) for _ in range(5))
    study.tell(valued, 30.0)
    for step, sample_us in enumerate([12.0, 10.0, 11.0]):
        reported.report(sample_us, step)
    study.tell(reported, 99.0)
    pruned.report(50.0, 0)
    study.tell(pruned, state=PRUNED)
    study.tell(silent, state=PRUNED)
    study.tell(failed, state=FAIL)
    found = [(m.index, m.status, m.time_us) for m in trials.measured(study.trials, toy.space)]
    assert found == [(0, "ok", 30.0), (1, "ok", 11.0), (2, "pruned", 50.0), (3, "pruned", None), (4, "crashed", None)]
    history = Observer(toy.space).observe(study)
    assert history.timed.tolist() == [0, 1, 2]
    assert history.best == 1


def test_trials_of_no_config_of_the_space_are_passed_over(toy: Recording) -> None:
    study = optuna.create_study(sampler=PoolSampler(toy.space, 0))
    study.enqueue_trial({"BLOCK_M": 16})
    study.add_trial(optuna.trial.create_trial(value=1.0))
    study.tell(study.ask(), state=FAIL)
    other: BaseDistribution = optuna.distributions.CategoricalDistribution((3, 5))
    foreign = dict.fromkeys(toy.space.distributions, other)
    study.add_trial(optuna.trial.create_trial(value=1.0, params=dict.fromkeys(foreign, 3), distributions=foreign))
    study.ask(toy.space.distributions)
    assert len(Observer(toy.space).observe(study).timed) == 0


def test_a_pickled_sampler_goes_on(toy: Recording) -> None:
    study = optuna.create_study(sampler=PoolSampler(toy.space, 0))
    study.optimize(lambda trial: time_us(toy, trial), n_trials=12, catch=RuntimeError)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    study.optimize(lambda trial: time_us(toy, trial), n_trials=12, catch=RuntimeError)
    assert len(set(positions(study, toy))) == PLAIN


def test_what_one_thread_was_given_is_in_flight_for_the_next(toy: Recording) -> None:
    """Also before Optuna has stored the first one's parameters."""
    sampler = PoolSampler(toy.space, 0)
    study = optuna.create_study(sampler=sampler)
    stored = [study.ask() for _ in range(2)]
    given = [sampler.sample_relative(study, study.trials[t.number], toy.space.distributions) for t in stored]
    assert given[0] != given[1]
    assert set(sampler.observer.observe(study).in_flight) == {toy.space.index(toy.space.config(g)) for g in given}


def test_a_sampler_may_go_on_in_another_study(toy: Recording) -> None:
    sampler = PoolSampler(toy.space, 0)
    first, second = (optuna.create_study(sampler=sampler) for _ in range(2))
    begun = []
    for study in (first, second):
        study.optimize(lambda trial: time_us(toy, trial), n_trials=4, catch=RuntimeError)
        begun.append(positions(study, toy))
    assert begun[0] == begun[1]
    assert begun[0][0] == 0, "the incumbent first"


def test_a_long_study_is_read_once(toy: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(sampler=OrderSampler(toy.space, 0))
    read: list[int] = []
    as_measured = trials.as_measured

    def counted(trial: optuna.trial.FrozenTrial, space: object) -> trials.MeasuredTrial | None:
        read.append(trial.number)
        return as_measured(trial, toy.space)

    monkeypatch.setattr(trials, "as_measured", counted)
    for _ in range(60):
        trials.tell(study, study.ask(toy.space.distributions), Measurement("ok", (1.0,)))
    assert len(read) == len(set(read))
