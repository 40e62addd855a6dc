"""While a config is measured the model learns, and nothing is stored before there is time for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import optuna
import pytest

from autotune.contract import Config
from autotune.measure.recording import Recording
from autotune.measure.replay import ReplayBackend
from autotune.measure.result import Measurement
from autotune.run.clock import Clock
from autotune.run.loop import SearchLoop
from autotune.run.options import BEGUN, Budget
from autotune.search.making import make_search
from autotune.search.pool import PoolSampler
from autotune.search.stopping import NeverStop

TRIALS = 20


class WaitsForTheModel(ReplayBackend):
    """Gives no time before the model has had a chance to learn."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(recording)
        self.learned = threading.Event()

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        assert self.learned.wait(timeout=60), "measuring and learning are one after the other"
        self.learned.clear()
        return super().measure(config, limit_us)


def test_the_model_learns_during_every_measurement(toy: Recording) -> None:
    search = make_search("gp", toy.space, 0, stop="none")
    sampler, backend = search.sampler, WaitsForTheModel(toy)
    assert isinstance(sampler, PoolSampler)
    learn, fitted_to = sampler.learn, set()

    def told(study: optuna.Study) -> None:
        learn(study)
        fitted_to.add(sampler.surrogate._fitted_to)
        backend.learned.set()

    sampler.learn = told  # type: ignore[method-assign]
    study = optuna.create_study(sampler=sampler)
    SearchLoop(study, toy.space, search, backend).run(Budget(TRIALS))
    assert len(study.trials) >= TRIALS
    assert len(fitted_to) > 3, "hyper-parameters follow the data"
    assert max(fitted_to) < TRIALS, "what is in flight is not known yet"


def test_trials_are_stored_in_order_and_all(toy: Recording) -> None:
    search = make_search("random", toy.space, 0)
    study = optuna.create_study()
    asked: list[Config] = []
    loop = SearchLoop(study, toy.space, search, ReplayBackend(toy))
    loop.run(Budget(TRIALS), lambda config, measurement: asked.append(dict(config)))
    assert [dict(toy.space.config(trial.params)) for trial in study.trials] == asked


class CountsWants(ReplayBackend):
    """Remembers how many configs were to be compiled, each time."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(recording)
        self.wants: list[int] = []

    def compile_ahead(self, configs: Sequence[Config]) -> None:
        self.wants.append(len(configs))


class Countdown(NeverStop):
    """Ends a search after so many trials, and knows it when half of them are done."""

    def measurements_left(self, study: optuna.Study) -> int | None:
        done = len(study.trials)
        return TRIALS - done if done >= TRIALS // 2 else None

    def done(self, study: optuna.Study) -> bool:
        return len(study.trials) >= TRIALS


@pytest.mark.parametrize("rule", [NeverStop(), Countdown()], ids=["the budget", "the stop rule"])
def test_the_end_is_told_in_advance_and_no_more_compiled_than_is_left(toy: Recording, rule: NeverStop) -> None:
    search, backend = replace(make_search("gp", toy.space, 0), stop=rule), CountsWants(toy)
    budget = Budget(TRIALS if type(rule) is NeverStop else 10 * TRIALS)
    endings: list[int] = []
    loop = SearchLoop(optuna.create_study(), toy.space, search, backend)
    loop.run(budget, on_ending=lambda: endings.append(loop._left(budget)))
    assert 0 < endings[0] <= 2 * search.per_round
    assert endings == sorted(endings, reverse=True)
    *_, last, closed = backend.wants
    assert closed == 0
    assert last <= search.per_round < search.compile_ahead == backend.wants[0]


class Measuring(ReplayBackend):
    """Ends a measurement once the process that asked for it has done what it had time for, or not within a minute."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(recording)
        self.meanwhile = threading.Event()
        self.seen: list[bool] = []

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        self.seen.append(self.meanwhile.wait(60.0))
        return super().measure(config, limit_us)


def test_what_has_time_is_done_while_the_first_config_is_measured_and_not_again(toy: Recording) -> None:
    backend, calls = Measuring(toy), list[int]()

    def on_begun() -> None:
        calls.append(loop.measured_count)
        backend.meanwhile.set()

    loop = SearchLoop(optuna.create_study(), toy.space, make_search("random", toy.space, 0), backend)
    loop.run(Budget(3), on_begun=on_begun)
    assert (calls, backend.seen) == ([0], [True] * 3)


class Slow(ReplayBackend):
    """Takes a while for the first config, and a second for each of the others, by a clock of its own."""

    def __init__(self, recording: Recording, first_s: float) -> None:
        super().__init__(recording)
        self.now_s = 0.0
        self._next_s = first_s

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        self.now_s, self._next_s = self.now_s + self._next_s, 1.0
        return super().measure(config, limit_us)


def searched(toy: Recording, first_s: float, budget: Budget, study: optuna.Study | None = None) -> SearchLoop:
    backend = Slow(toy, first_s)
    loop = SearchLoop(
        study or optuna.create_study(),
        toy.space,
        make_search("random", toy.space, 0),
        backend,
        clock=Clock(lambda: backend.now_s),
    )
    loop.run(budget)
    return loop


@pytest.mark.parametrize("first_s", [1.0, 60.0])
def test_a_share_is_counted_from_where_the_search_has_begun(toy: Recording, first_s: float) -> None:
    loop = searched(toy, first_s, Budget(100, timeout_s=100.0, share_s=5.0))
    assert loop.measured_count == BEGUN + 5
    assert loop.out_of_time


def test_the_end_of_a_run_is_the_end_of_a_search_that_has_not_begun(toy: Recording) -> None:
    loop = searched(toy, 60.0, Budget(100, timeout_s=62.0, share_s=5.0))
    assert loop.measured_count == 3
    assert loop.out_of_time


def test_a_search_that_is_taken_up_again_has_its_share_from_the_first_config_on(toy: Recording) -> None:
    study = optuna.create_study()
    searched(toy, 1.0, Budget(2 * BEGUN), study)
    loop = searched(toy, 60.0, Budget(100, timeout_s=100.0, share_s=5.0), study)
    assert loop.measured_count == 2 * BEGUN + 1 + 5


def test_what_ends_by_itself_is_not_out_of_time(toy: Recording) -> None:
    assert not searched(toy, 1.0, Budget(BEGUN + 5, timeout_s=100.0, share_s=5.0)).out_of_time
