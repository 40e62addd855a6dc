"""Stopping a study."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import optuna

from autotune.measure.recording import Recording
from autotune.measure.result import Measurement
from autotune.search.coordinates import steps
from autotune.search.history import Observer
from autotune.search.making import make_search
from autotune.search.neighbour import Neighbour
from autotune.search.pool import PoolSampler

Replay = Callable[..., list[tuple[int, Measurement]]]


def test_never_stops_before_incumbent_and_seeds(toy: Recording) -> None:
    neighbour = Neighbour({}, list(toy.configs[100:120]), [1.0] * 20)
    search = make_search("gp", toy.space, 0, [neighbour])
    assert isinstance(search.sampler, PoolSampler)
    study = optuna.create_study(sampler=search.sampler)
    while not search.sampler.started(Observer(toy.space).observe(study)):
        assert not search.stop.done(study)
        assert search.stop.gain_left(study) is None
        study.tell(_ask_and_report(study, toy), 10.0)
    done = Observer(toy.space).observe(study)
    assert not done.untried[search.sampler.known].any()


def _ask_and_report(study: optuna.Study, recording: Recording) -> optuna.Trial:
    """Asks for a trial that takes 10 us, as every config does."""
    trial = study.ask(recording.space.distributions)
    trial.report(10.0, 0)
    trial.set_user_attr("status", "ok")
    return trial


def test_stops_on_the_best_with_nothing_expected_around_it(toy: Recording, replay: Replay) -> None:
    for seed in range(3):
        study = optuna.create_study()
        search = make_search("gp", toy.space, seed)
        told = replay(toy, search, len(toy.space), study)
        assert len(told) < len(toy.space)
        history = Observer(toy.space).observe(study)
        assert isinstance(search.sampler, PoolSampler)
        assert search.sampler.gain_near(history) < 0.0005
        assert np.exp(history.log_us.min()) <= 1.02 * toy.best_us
        gain_left = search.stop.gain_left(study)
        assert gain_left is not None and 0 <= gain_left < 0.015
        assert history.best is not None
        around = steps(toy.space, history.best)
        assert around.any() and not (around & history.untried & ~history.hopeless).any(), "the descent is complete"


def test_says_how_many_measurements_are_left(toy: Recording, replay: Replay) -> None:
    search = make_search("gp", toy.space, 0)
    left: list[int | None] = []
    done = search.stop.done

    def watched(study: optuna.Study) -> bool:
        left.append(search.stop.measurements_left(study))
        return done(study)

    search.stop.done = watched  # type: ignore[method-assign]
    told = replay(toy, search, len(toy.space))
    assert left[0] is None, "nothing is known yet"
    assert left[-1] == 0
    counted = [
        (before, after) for before, after in itertools.pairwise(left) if before is not None and after is not None
    ]
    # A config that fails is no measurement, and asked after twice.
    assert all(after in (before, before - 1) for before, after in counted)
    assert len(told) < len(toy.space)


def test_a_study_resumed_again_and_again_stops_where_it_would_have(toy: Recording, replay: Replay) -> None:
    """What the rule waited for before a restart still counts."""
    whole = len(replay(toy, make_search("gp", toy.space, 0), len(toy.space)))
    assert whole > 30
    study, told = optuna.create_study(), 0
    for _ in range(40):
        search = make_search("gp", toy.space, 0)
        if search.stop.done(study):
            break
        told += len(replay(toy, search, told + 5, study))
    assert search.stop.done(study)
    # A resumed search fits its model again: it may go another way, but it does end.
    assert told <= whole + 15


def test_stop_none_goes_on(small: Recording, replay: Replay) -> None:
    search = make_search("gp", small.space, 0, stop="none")
    assert len(replay(small, search, 100)) == len(small.space)
    assert search.stop.gain_left(optuna.create_study()) is None
