"""Holds what a storage says of a trial, read by SQL or through Optuna; Optuna is not loaded for it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune.measure.result import FAILURES

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_FINISHED = ("COMPLETE", "PRUNED", "FAIL")
_PRUNED = "pruned"


@dataclass(frozen=True)
class StoredTrial:
    """One trial, as its storage has it.

    Attributes:
        state: Optuna's name of it, e.g. ``COMPLETE``.
        value: What its study compares; None where it was told none.
        distributions: Of each parameter, in Optuna's JSON.
        intermediate_values: By step.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    distributions: Mapping[str, str]
    user_attrs: Mapping[str, Any]
    intermediate_values: Mapping[int, float]

    @classmethod
    def of(cls, trial: FrozenTrial) -> StoredTrial:
        """Returns what Optuna read."""
        from optuna.distributions import distribution_to_json  # here, because who reads by SQL does without Optuna

        distributions = {name: distribution_to_json(found) for name, found in trial.distributions.items()}
        read = (trial.params, distributions, trial.user_attrs, trial.intermediate_values)
        return cls(trial.number, trial.state.name, trial.value, *read)

    @property
    def is_finished(self) -> bool:
        return self.state in _FINISHED

    @property
    def status(self) -> str | None:
        """How it ended, as the tuning loop told; None while it runs, and where something else told it."""
        return status_of(self.state, self.user_attrs)

    @property
    def was_given_up(self) -> bool:
        """Whether it was given up before it was timed to the end."""
        return was_given_up(self.state, self.user_attrs)

    @property
    def was_timed_whole(self) -> bool:
        """Whether it was timed to the end."""
        return self.state == "COMPLETE" and not self.was_given_up

    @property
    def time_us(self) -> float | None:
        """The median of its samples, however few; None of a failure, and while it runs."""
        if not self.is_finished or self.status in FAILURES:
            return None
        times = list(self.intermediate_values.values()) or ([] if self.value is None else [self.value])
        return statistics.median(times) if times else None


def status_of(state: str, user_attrs: Mapping[str, Any]) -> str | None:
    """Returns the status that is stored on a trial; None while it runs."""
    value = user_attrs.get("status")
    return value if isinstance(value, str) and state in _FINISHED else None


def was_given_up(state: str, user_attrs: Mapping[str, Any]) -> bool:
    """Tells whether a finished trial was given up before it was timed to the end."""
    return state == "PRUNED" or user_attrs.get("status") == _PRUNED
