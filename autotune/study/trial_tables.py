"""Reads the trials of a study from Optuna's tables by SQL, one query for each table; Optuna is not loaded.

The tables are those of the version that `autotune.study.sqlite_file.SCHEMA` names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

from autotune.errors import InputError
from autotune.study.stored_trial import StoredTrial
from autotune.untrusted.printing import shortened

Row = Sequence[Any]
Query = Callable[[Sequence[str]], Sequence[Sequence[Row]]]
"""Runs statements one after the other on one connection; returns the rows of each."""

_TRIALS = "SELECT trial_id, number, state FROM trials WHERE study_id = {} ORDER BY trial_id"
_OF_TRIALS = (
    "SELECT kept.trial_id, {columns} FROM {table} kept JOIN trials ON trials.trial_id = kept.trial_id "
    "WHERE trials.study_id = {{}} ORDER BY {order}"
)
_VALUES = _OF_TRIALS.format(
    columns="kept.objective, kept.value, kept.value_type", table="trial_values", order="kept.trial_value_id"
)
_PARAMS = _OF_TRIALS.format(
    columns="kept.param_name, kept.param_value, kept.distribution_json", table="trial_params", order="kept.param_id"
)
_ATTRIBUTES = _OF_TRIALS.format(
    columns="kept.key, kept.value_json", table="trial_user_attributes", order="kept.trial_user_attribute_id"
)
_SAMPLES = _OF_TRIALS.format(
    columns="kept.step, kept.intermediate_value, kept.intermediate_value_type",
    table="trial_intermediate_values",
    order="kept.trial_intermediate_value_id",
)
# The trials first: all that a trial begins with is stored in one transaction, so that none is read without it.
_STATEMENTS = (_TRIALS, _VALUES, _PARAMS, _ATTRIBUTES, _SAMPLES)

_UNLIKE_NUMBERS = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
"""What is stored beside no number, by its kind."""


def trials_of(query: Query, study: int) -> list[StoredTrial]:
    """Reads the trials of a study, by Optuna's number of it, in the order of their creation.

    Raises:
        InputError: If one is not as Optuna stores it.
    """
    trials, *kept = query([statement.format(study) for statement in _STATEMENTS])
    values, params, attributes, samples = map(_by_trial, kept)
    found = []
    for trial, number, state in trials:
        of_trial = (rows.get(trial, ()) for rows in (values, params, attributes, samples))
        try:
            found.append(_trial(number, state, *of_trial))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise InputError(
                f"--storage: trial {number} of a study is not as Optuna stores it ({type(error).__name__}: "
                f"{shortened(str(error))}), so somebody else has written it; put back a copy, or give another storage"
            ) from error
    return found


def _trial(
    number: int,
    state: str,
    values: Iterable[Row],
    params: Collection[Row],
    attributes: Iterable[Row],
    samples: Iterable[Row],
) -> StoredTrial:
    return StoredTrial(
        number=number,
        state=state,
        value={objective: _number(*kept) for objective, *kept in values}.get(0),
        params={name: _decoder(kind)(value) for name, value, kind in params},
        distributions={name: kind for name, _, kind in params},
        user_attrs={key: json.loads(value) for key, value in attributes},
        intermediate_values={step: _number(*kept) for step, *kept in samples},
    )


def _by_trial(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for trial, *kept in rows:
        found.setdefault(trial, []).append(kept)
    return found


def _number(number: float | None, kind: str) -> float:
    return _UNLIKE_NUMBERS[kind] if number is None else number


@lru_cache(maxsize=1024)
def _decoder(distribution: str) -> Callable[[float], Any]:
    """Returns what turns the number that is stored of a parameter into its value."""
    data = json.loads(distribution)
    kind = data.get("name")
    if kind == "CategoricalDistribution":
        choices = data["attributes"]["choices"]
        return lambda number: choices[int(number)]
    if kind == "IntDistribution":
        return int
    if kind == "FloatDistribution":
        return float
    from optuna.distributions import json_to_distribution  # here, because only older releases stored other kinds

    return json_to_distribution(distribution).to_external_repr
