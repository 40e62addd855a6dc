"""How a measurement is kept on an Optuna trial, and read back. Nothing else is stored about a config (law 5).

Trial state: ``ok`` is COMPLETE with the median as value, ``pruned`` is PRUNED, every failure is FAIL. Samples are the
trial's intermediate values; everything else is a user attribute of its own, so that dashboards show it as a column.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.kernel import Config
from autotune.measure.result import FAILURES, Measurement, Status
from autotune.space import Space

INTERRUPTED = "interrupted"
"""Status of a trial whose run was killed before it could be told: its config counts as never measured."""

_STATE = {"ok": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


@dataclass(frozen=True)
class Measured:
    """A finished trial as the search sees it.

    Attributes:
        index: The config's position in the space.
        status: How it ended.
        time_us: Median of its samples (for ``pruned`` of the few taken); None for a failure.
    """

    index: int
    status: Status
    time_us: float | None


def tell(study: optuna.Study, trial: optuna.Trial, measurement: Measurement) -> None:
    """Store a measurement on an asked trial and finish it."""
    for step, sample_us in enumerate(measurement.samples_us):
        trial.report(sample_us, step)
    for name, value in _attributes(measurement).items():
        trial.set_user_attr(name, value)
    if measurement.status == "ok":
        study.tell(trial, measurement.median_us)
    else:
        study.tell(trial, state=_STATE.get(measurement.status, TrialState.FAIL))


def add_failure(study: optuna.Study, space: Space, config: Config, measurement: Measurement) -> None:
    """Store the failure of a config that was compiled ahead and never asked for."""
    study.add_trial(
        create_trial(
            state=TrialState.FAIL,
            params=space.params(config),
            distributions=space.distributions,
            user_attrs=_attributes(measurement),
        )
    )


def abandon_running(study: optuna.Study) -> int:
    """Finish the trials a killed run left behind, so that their configs are proposed again; returns how many."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        study._storage.set_trial_user_attr(trial._trial_id, "status", INTERRUPTED)
        study.tell(trial.number, state=TrialState.FAIL)
    return len(running)


def status(trial: FrozenTrial) -> str | None:
    """The status stored on a trial; None while it runs."""
    value = trial.user_attrs.get("status")
    return value if isinstance(value, str) and trial.state.is_finished() else None


def measured(trials: Iterable[FrozenTrial], space: Space) -> list[Measured]:
    """The finished trials of a study, interrupted ones left out."""
    found = []
    for trial in trials:
        kind = status(trial)
        if kind is None or kind == INTERRUPTED:
            continue
        index = space.index(space.config(trial.params))
        samples = trial.intermediate_values.values()
        time_us = None if kind in FAILURES or not samples else statistics.median(samples)
        found.append(Measured(index, kind, time_us))  # type: ignore[arg-type]
    return found


def in_flight(trials: Iterable[FrozenTrial], space: Space) -> list[int]:
    """Positions of the configs being measured now."""
    return [
        space.index(space.config(t.params))
        for t in trials
        if t.state == TrialState.RUNNING and len(t.params) == len(space.tunable)
    ]


def _attributes(measurement: Measurement) -> dict[str, object]:
    data = measurement.to_json()
    data |= data.pop("resources") or {}
    return {name: value for name, value in data.items() if value not in (None, "", {})}
