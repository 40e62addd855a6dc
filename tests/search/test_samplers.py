from __future__ import annotations

from collections.abc import Callable

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.contract import config_key
from autotune.contract.space import Space
from autotune.errors import InputError
from autotune.measure.recording import Recording
from autotune.measure.result import Measurement
from autotune.search import SAMPLERS
from autotune.search.api import Search, SpaceExhausted
from autotune.search.history import Observer
from autotune.search.making import SWEEP_BELOW, SWEEP_BELOW_ESTIMATED, make_search
from autotune.search.pool import PoolSampler
from autotune.search.pruning import GapPruner
from autotune.search.ranking import ListSampler
from autotune.search.stopping import NeverStop
from autotune.study import trials

Replay = Callable[..., list[tuple[int, Measurement]]]


@pytest.mark.parametrize("name", SAMPLERS)
def test_measures_every_config_once(name: str, small: Recording, replay: Replay) -> None:
    told = replay(small, make_search(name, small.space, 0, stop="none"), 100)
    assert sorted(index for index, _ in told) == list(range(len(small.space)))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_never_repeats_and_begins_with_the_incumbent(name: str, seed: int, toy: Recording, replay: Replay) -> None:
    told = [index for index, _ in replay(toy, make_search(name, toy.space, seed, stop="none"), 30)]
    assert told[0] == 0
    assert len(set(told)) == len(told)


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_seed_same_search(name: str, toy: Recording, replay: Replay) -> None:
    first, second = (replay(toy, make_search(name, toy.space, 3, stop="none"), 25) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["random", "tpe", "gp"])
def test_seeds_differ(name: str, toy: Recording, replay: Replay) -> None:
    first, second = (replay(toy, make_search(name, toy.space, seed, stop="none"), 12) for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize("name", SAMPLERS)
def test_resumed_study_goes_on_where_it_was(name: str, toy: Recording, replay: Replay) -> None:
    study = optuna.create_study()
    before = replay(toy, make_search(name, toy.space, 0, stop="none"), 15, study)
    after = replay(toy, make_search(name, toy.space, 0, stop="none"), 30, study)
    assert not {index for index, _ in before} & {index for index, _ in after}


@pytest.mark.parametrize("name", SAMPLERS)
def test_configs_in_flight_are_not_proposed(name: str, toy: Recording) -> None:
    search = make_search(name, toy.space, 0)
    study = optuna.create_study(sampler=search.sampler)
    asked = [toy.space.index(toy.space.config(study.ask(toy.space.distributions).params)) for _ in range(8)]
    assert len(set(asked)) == 8
    listed = [toy.space.index(config) for config in search.sampler.shortlist(study, 8)]
    assert not set(listed) & set(asked)


@pytest.mark.parametrize("named", [[0, 0, 5], [0, 5, 5], [0, 0, 0]])
def test_a_list_that_names_a_config_twice_tries_it_once(named: list[int], toy: Recording, replay: Replay) -> None:
    sampler = ListSampler(toy.space, [toy.space.configs[index] for index in named])
    told = [index for index, _ in replay(toy, Search(sampler, GapPruner(), NeverStop()), len(named))]
    assert told == sorted(set(named))


@pytest.mark.parametrize("name", SAMPLERS)
def test_proposes_only_what_has_compiled(name: str, toy: Recording) -> None:
    search = make_search(name, toy.space, 0)
    study = optuna.create_study(sampler=search.sampler)
    search.sampler.among = [toy.space.configs[7]]
    assert search.sampler.propose(study) == toy.space.configs[7]
    search.sampler.among = []
    with pytest.raises(SpaceExhausted):
        search.sampler.propose(study)


@settings(max_examples=15)
@given(data=st.data())
def test_any_space_is_searched_through(data: st.DataObject) -> None:
    """Odd spaces: parameters with one value, unset values, zeros; every config fails at random."""
    values = st.lists(st.sampled_from([None, 0, 1, 2, 3, 8, 100]), min_size=1, max_size=3, unique=True)
    names = ["block", "warps", "flag"][: data.draw(st.integers(1, 3))]
    grid: list[dict[str, int | None]] = [{}]
    for name in names:
        column = data.draw(values.filter(lambda v: v != [None]))
        grid = [{**config, name: value} for config in grid for value in column]
    space = Space(grid, grid[0])
    search = make_search(data.draw(st.sampled_from(SAMPLERS)), space, data.draw(st.integers(0, 99)), stop="none")
    study = optuna.create_study(sampler=search.sampler)
    seen = []
    for _ in range(len(space)):
        trial = study.ask(space.distributions)
        seen.append(config_key(space.config(trial.params)))
        failed = data.draw(st.booleans())
        trials.tell(study, trial, Measurement("crashed") if failed else Measurement("ok", (1.0 + len(seen),)))
    assert len(set(seen)) == len(space)
    assert search.sampler.shortlist(study, 4) == []


@pytest.mark.parametrize("sweep_below", [SWEEP_BELOW, SWEEP_BELOW_ESTIMATED])
def test_auto_sweeps_small_spaces_only(toy: Recording, sweep_below: int) -> None:
    for count in (sweep_below - 1, sweep_below):
        space = Space(toy.space.configs[:count], toy.space.incumbent)
        estimate = np.zeros(count) if sweep_below == SWEEP_BELOW_ESTIMATED else None
        models = isinstance(make_search("auto", space, 0, log_estimate=estimate).sampler, PoolSampler)
        assert models == (count == sweep_below)


def test_unknown_names_are_refused(toy: Recording) -> None:
    with pytest.raises(InputError, match="--sampler: got 'annealing'; allowed: auto, random"):
        make_search("annealing", toy.space, 0)
    with pytest.raises(InputError, match="--stop"):
        make_search("auto", toy.space, 0, stop="never")


def test_finds_the_best_of_the_toy_kernel(toy: Recording, replay: Replay) -> None:
    for seed in range(3):
        told = replay(toy, make_search("gp", toy.space, seed, stop="none"), 40)
        assert min(m.median_us for _, m in told if m.status == "ok") <= 1.01 * toy.best_us


def test_failures_leave_the_model_alone(toy: Recording) -> None:
    """Two studies with the same times, one with failures among them, believe the same."""
    times = {0: 30.0, 5: 20.0, 50: 25.0, 90: 40.0}
    beliefs = []
    for failures in ([], [60, 100, 140]):
        study = optuna.create_study()
        sampler = PoolSampler(toy.space, 0)
        for index in failures:
            trials.add_failure(study, toy.space, toy.space.configs[index], Measurement("compile_error"))
        for index, time_us in times.items():
            study.enqueue_trial(toy.space.params(toy.space.configs[index]))
            trials.tell(study, study.ask(toy.space.distributions), Measurement("ok", (time_us,)))
        beliefs.append(sampler.belief(Observer(toy.space).observe(study)))
    assert beliefs[0].mean == pytest.approx(beliefs[1].mean)


def test_pruned_configs_inform_the_model(toy: Recording) -> None:
    study = optuna.create_study()
    study.enqueue_trial(toy.space.params(toy.space.configs[9]))
    trials.tell(study, study.ask(toy.space.distributions), Measurement("pruned", (8.0, 9.0, 11.0)))
    history = Observer(toy.space).observe(study)
    assert list(history.timed) == [9]
    assert history.log_us[0] == pytest.approx(2.1972, abs=1e-3)
    assert history.best is None


def test_a_batch_asked_at_once_is_distinct_and_the_first_does_not_move(toy: Recording, replay: Replay) -> None:
    study = optuna.create_study()
    search = make_search("gp", toy.space, 0, stop="none")
    replay(toy, search, 20, study)
    search.sampler.among = None
    expected = search.sampler.propose(study)
    batch = [toy.space.config(study.ask(toy.space.distributions).params) for _ in range(16)]
    assert batch[0] == expected
    assert len({toy.space.index(config) for config in batch}) == 16


def test_configs_in_flight_take_doubt_away(toy: Recording, replay: Replay) -> None:
    study = optuna.create_study()
    search = make_search("gp", toy.space, 0, stop="none")
    replay(toy, search, 20, study)
    assert isinstance(search.sampler, PoolSampler)
    search.sampler.among = None
    before = search.sampler.belief(Observer(toy.space).observe(study))
    flying = toy.space.index(toy.space.config(study.ask(toy.space.distributions).params))
    after = search.sampler.belief(Observer(toy.space).observe(study))
    # A normal variable seen once through noise: variances add as conductances do.
    surrogate = search.sampler.surrogate
    noise = np.sqrt(surrogate._covariance.noise) * surrogate._scale
    expected = before.std[flying] * noise / np.hypot(before.std[flying], noise)
    assert after.std[flying] == pytest.approx(expected, rel=1e-4)
    assert (after.std <= before.std + 1e-6).all()
    assert (after.mean == before.mean).all()
