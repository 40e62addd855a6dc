"""Tells from the timed trials of a study, pruned ones among them, what each parameter is worth and how the space
lies."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.study.stored_study import StoredStudy

_FEWEST = 8
"""Below so many timed trials no importance is told: it would be of the noise."""


@dataclass(frozen=True)
class TimedTrial:
    """One trial that was timed: to the end, or until it was clear that it is slow."""

    number: int
    time_us: float
    pruned: bool
    params: dict[str, Any]


def timed_trials(item: StoredStudy) -> list[TimedTrial]:
    """Returns a study's timed trials, in the order they came."""
    return [
        TimedTrial(trial.number, time_us, trial.was_given_up, dict(trial.params))
        for trial in item.trials()
        if (time_us := trial.time_us) is not None
    ]


def importances(item: StoredStudy) -> dict[str, float]:
    """Returns what share of how fast configs are each parameter explains, the largest first; empty where too few were
    timed to say.

    In a study of an older release most are pruned, and Optuna counts complete trials alone: here each counts by its
    time.
    """
    import optuna  # loads scikit-learn as well, which only a finished study waits for
    from optuna.distributions import json_to_distribution
    from optuna.importance import get_param_importances

    seen = [(trial, time_us) for trial in item.trials() if (time_us := trial.time_us)]
    if len(seen) < _FEWEST:
        return {}
    common = sorted(set.intersection(*(set(trial.params) for trial, _ in seen)))
    copy = optuna.create_study()
    for trial, time_us in seen:
        copy.add_trial(
            optuna.trial.create_trial(
                value=math.log(time_us),
                params={name: trial.params[name] for name in common},
                distributions={name: json_to_distribution(trial.distributions[name]) for name in common},
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return get_param_importances(copy)
        except (ValueError, RuntimeError):  # all times equal, or a single value of every parameter
            return {}


def fastest_by_pair(timed: Sequence[TimedTrial], a: str, b: str) -> dict[tuple[Any, Any], float]:
    """Returns the fastest time of each pair of values of two parameters."""
    found: dict[tuple[Any, Any], float] = {}
    for trial in timed:
        if a in trial.params and b in trial.params:
            pair = (trial.params[a], trial.params[b])
            found[pair] = min(trial.time_us, found.get(pair, math.inf))
    return found


def in_order(values: Iterable[Any]) -> list[Any]:
    """Returns the distinct values of a parameter, an unset one first."""
    return sorted(set(values), key=lambda value: (value is not None, value or 0))
