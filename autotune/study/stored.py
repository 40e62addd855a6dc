"""Gives trials the form that they have in a storage: Optuna's own tools show all timed configs, on axes in order.

A search chooses among categories, and tells a config that was given up early from one that was timed to the end. Tools
that draw a storage sort categories as text and leave out what is not complete. So sizes are stored as integers, on a
log scale where all are powers of two, and a config that was given up is complete with the median of its samples. Its
attribute ``status`` still says ``pruned``; it is slower than the best that was known, so it is never the best trial.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from autotune.contract import Parameter
from autotune.contract.space import Space
from autotune.study.stored_trial import was_given_up


class StoredForm:
    """Brings the trials of one study into their stored form and back.

    A study of an older release goes on with the distributions that it has: Optuna refuses two for one parameter.
    """

    def __init__(self, study: optuna.Study, space: Space) -> None:
        self._searched = space.distributions
        self._stored = {parameter.name: _distribution(parameter) for parameter in space.tunable} | _known(study, space)

    def stored(self, trial: FrozenTrial) -> FrozenTrial:
        """Returns a finished trial of the search as it is stored."""
        found = _with(trial, self._stored)
        if trial.state == TrialState.PRUNED and trial.intermediate_values:
            found.state = TrialState.COMPLETE
            found.value = statistics.median(trial.intermediate_values.values())
        return found

    def searched(self, trial: FrozenTrial) -> FrozenTrial:
        """Returns a stored trial as the search made it."""
        found = _with(trial, self._searched)
        if was_given_up(trial.state.name, trial.user_attrs) and trial.intermediate_values:
            found.state = TrialState.PRUNED
            found.value = trial.intermediate_values[max(trial.intermediate_values)]
        return found


def _distribution(parameter: Parameter) -> BaseDistribution:
    """Returns a parameter's distribution as it is stored; unset values have no place among numbers."""
    values = [value for value in parameter.values if value is not None]
    if len(values) < len(parameter.values):
        return CategoricalDistribution(parameter.values)
    doubling = all(value > 0 and value & (value - 1) == 0 for value in values)
    return IntDistribution(min(values), max(values), log=doubling)


def _known(study: optuna.Study, space: Space) -> dict[str, BaseDistribution]:
    """Returns the distributions that a study's trials have."""
    wanted = {parameter.name for parameter in space.tunable}
    known: dict[str, BaseDistribution] = {}
    for trial in study.get_trials(deepcopy=False):
        known = {name: found for name, found in trial.distributions.items() if name in wanted} | known
        if len(known) == len(wanted):
            break
    return known


def _with(trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """Returns a copy of a trial whose parameters are of these distributions, where they are named."""
    found = copy.copy(trial)
    found.distributions = {name: distributions.get(name, there) for name, there in trial.distributions.items()}
    return found
