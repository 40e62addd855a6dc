"""Runs rival searches on a recorded space, as their users would run them; each begins with the incumbent."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import TrialState

from autotune.bench import kernel_tuner
from autotune.bench.outcome import SearchOutcome
from autotune.measure.recording import Recording
from autotune.measure.result import COMPILE_FAILURES

Rival = Callable[[Recording, int, int], SearchOutcome]

_ASKS_PER_EVALUATION = 2
"""A sampler that repeats itself is cut off after this many asks for every evaluation it was given."""


def coordinate_descent(recording: Recording, budget: int, seed: int) -> SearchOutcome:
    """Searches one parameter at a time, in random order: try all its values, keep the best; from a random config when
    stuck."""
    space = recording.space
    rng = np.random.default_rng(seed)
    outcome = SearchOutcome(recording)
    start = 0
    compiled = [m for m in recording.measurements if m.status not in COMPILE_FAILURES]
    while len(outcome.regrets) < min(budget, len(compiled)):
        best, best_us = start, _time_us(outcome, recording, start)
        improved = True
        while improved and len(outcome.regrets) < budget:
            improved = False
            for column in rng.permutation(len(space.tunable)):
                others = np.delete(space.ordinals, column, axis=1)
                for index in np.flatnonzero((others == others[best]).all(axis=1)):
                    if len(outcome.regrets) >= budget:
                        break
                    if index != best and (time_us := _time_us(outcome, recording, int(index))) < best_us:
                        best, best_us, improved = int(index), time_us, True
        start = int(rng.integers(len(space)))
    # Its own revisits cost nothing: anyone would remember a time.
    outcome.repeated = 0
    return outcome


def _time_us(outcome: SearchOutcome, recording: Recording, index: int) -> float:
    found = outcome.ask(recording.space.configs[index])
    return found.median_us if found is not None and not found.failed else np.inf


def stock(make: Callable[[int], BaseSampler]) -> Rival:
    """Runs an Optuna sampler over one categorical choice a parameter; infeasible and failed configs are failed
    trials."""

    def run(recording: Recording, budget: int, seed: int) -> SearchOutcome:
        space = recording.space
        outcome = SearchOutcome(recording)
        study = optuna.create_study(sampler=make(seed))
        study.enqueue_trial(space.params(space.incumbent))
        while len(outcome.regrets) < budget and outcome.asks < _ASKS_PER_EVALUATION * budget:
            start_s = time.perf_counter()
            trial = study.ask(space.distributions)
            outcome.think_s += time.perf_counter() - start_s
            found = outcome.ask(space.config(trial.params))
            if found is None or found.failed:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, found.median_us)
        return outcome

    return run


def kernel_tuner_strategy(name: str) -> Rival:
    def run(recording: Recording, budget: int, seed: int) -> SearchOutcome:
        start_s = time.perf_counter()
        configs = kernel_tuner.run(name, recording, budget, seed)
        outcome = SearchOutcome(recording, think_s=time.perf_counter() - start_s)
        # The incumbent is measured first, also for a strategy that cannot be told where to begin.
        for config in configs if configs[:1] == [recording.space.incumbent] else [recording.space.incumbent, *configs]:
            outcome.ask(config)
        return outcome

    return run


def _gp(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return GPSampler(seed=seed)


RIVALS: dict[str, Rival] = {
    "optuna-tpe": stock(lambda seed: TPESampler(seed=seed)),
    "optuna-gp": stock(_gp),
    "coordinate-descent": coordinate_descent,
    **{name: kernel_tuner_strategy(name) for name in kernel_tuner.STRATEGIES},
}
