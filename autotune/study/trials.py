"""Keeps a measurement on an Optuna trial, and reads it back. Nothing else is stored about a config (law 5).

Trial state: ``ok`` is COMPLETE with the median as value, ``pruned`` is PRUNED while the search goes on (`study.stored`
says what is stored), every failure is FAIL. Samples are the trial's intermediate values; everything else is a user
attribute of its own, so that dashboards show it as a column.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.contract import Config
from autotune.contract.space import Space
from autotune.measure.result import COMPILE_FAILURES, FAILURES, Measurement, Status
from autotune.study.stored import StoredForm
from autotune.study.stored_trial import status_of

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_STATE = {"ok": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
_STATUS: dict[TrialState, Status] = {
    TrialState.COMPLETE: "ok",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "crashed",
}
"""The status of a trial that Optuna's own means have told, not the tuning loop."""


@dataclass(frozen=True)
class MeasuredTrial:
    """A finished trial as the search sees it.

    Attributes:
        index: The config's position in the space.
        status: How it ended.
        time_us: Median of its samples (for ``pruned`` of the few taken); None for a failure.
    """

    index: int
    status: Status
    time_us: float | None


def working_copy(study: optuna.Study, space: Space, sampler: BaseSampler) -> optuna.Study:
    """Returns a twin in memory to ask, report to and read from: with a database each of these would be a transaction.

    What is finished goes to the storage through a `WriteQueue` (`study.writer`). A trial in flight is not there: a kill
    leaves nothing behind.
    """
    live = optuna.create_study(direction=study.direction, sampler=sampler, pruner=NopPruner())
    form = StoredForm(study, space)
    live.add_trials(form.searched(trial) for trial in study.get_trials(deepcopy=False, states=_FINISHED))
    return live


def tell(live: optuna.Study, trial: optuna.Trial, measurement: Measurement) -> FrozenTrial:
    """Puts a measurement on an asked trial and finishes it."""
    for step, sample_us in enumerate(measurement.samples_us):
        trial.report(sample_us, step)
    for name, value in _attributes(measurement).items():
        trial.set_user_attr(name, value)
    if measurement.status == "ok":
        return live.tell(trial, measurement.median_us)
    return live.tell(trial, state=_STATE.get(measurement.status, TrialState.FAIL))


def add_failure(live: optuna.Study, space: Space, config: Config, measurement: Measurement) -> FrozenTrial:
    """Adds the failure of a config that was compiled ahead and never asked for."""
    failed = create_trial(
        state=TrialState.FAIL,
        params=space.params(config),
        distributions=space.distributions,
        user_attrs=_attributes(measurement),
    )
    live.add_trial(failed)
    return failed


def status(trial: FrozenTrial) -> str | None:
    """Returns the status stored on a trial; None while it runs."""
    return status_of(trial.state.name, trial.user_attrs)


def measured(trials: Iterable[FrozenTrial], space: Space) -> list[MeasuredTrial]:
    """Returns the finished trials of a study."""
    return [found for trial in trials if (found := as_measured(trial, space)) is not None]


def launched(trials: Iterable[FrozenTrial], space: Space) -> int:
    """Counts the configs that count against a budget: what does not compile never reaches the GPU."""
    return sum(found.status not in COMPILE_FAILURES for found in measured(trials, space))


def as_measured(trial: FrozenTrial, space: Space) -> MeasuredTrial | None:
    """Returns a trial as the search sees it; None if it is not finished, or of no config of the space.

    One without a status counts by its state, and by its value if it reported no samples: studies may be run by Optuna's
    own means (`Study.optimize`, `Study.tell`).
    """
    if trial.state not in _STATUS or (index := position(trial, space)) is None:
        return None
    kind = status(trial) or _STATUS[trial.state]
    times = list(trial.intermediate_values.values()) or ([] if trial.value is None else [trial.value])
    time_us = None if kind in FAILURES or not times else statistics.median(times)
    return MeasuredTrial(index, kind, time_us)  # type: ignore[arg-type]


def position(trial: FrozenTrial, space: Space) -> int | None:
    """Returns where the space has a trial's config; None if its parameters are not all there yet, or not of the
    space."""
    if not all(parameter.name in trial.params for parameter in space.tunable):
        return None
    try:
        return space.index(space.config(trial.params))
    except KeyError:
        return None


def _attributes(measurement: Measurement) -> dict[str, object]:
    data = measurement.to_json()
    data |= data.pop("resources") or {}
    return {name: value for name, value in data.items() if value not in (None, "", {})}
