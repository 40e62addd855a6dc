"""Reads what a storage says of all its studies, by one query for each table: no trial is read, and Optuna is not
loaded.

To load Optuna takes half a second, and to have it read 50,000 trials half a minute.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.errors import InputError, one_of
from autotune.study import attributes, sqlite_file
from autotune.study.membership import Membership
from autotune.study.summary import StudySummary
from autotune.untrusted.printing import shortened

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

# The parts of Optuna's tables that are read here; a test compares with what Optuna itself says.
_STUDIES = "SELECT study_id, study_name FROM studies ORDER BY study_id"
_ATTRIBUTES = "SELECT kept.study_id, kept.key, kept.value_json FROM study_user_attributes kept"
_COUNTS = "SELECT study_id, COUNT(*) FROM trials WHERE study_id IN ({}) GROUP BY study_id"
_BEST = (
    "SELECT trials.study_id, MIN(trial_values.value) FROM trials "
    "JOIN trial_values ON trial_values.trial_id = trials.trial_id "
    "WHERE trials.state = 'COMPLETE' AND trials.study_id IN ({}) GROUP BY trials.study_id"
)

Query = Callable[[str], Iterable[Sequence[Any]]]
"""Runs a query; returns its rows."""


@dataclass(frozen=True)
class TrialCount:
    """The trials of one study.

    Attributes:
        trials: How many there are, of any state.
        best_us: The fastest time of them; None before one has succeeded.
    """

    trials: int = 0
    best_us: float | None = None


@dataclass(frozen=True)
class CountedStudy:
    """A study, and how far it is."""

    summary: StudySummary
    count: TrialCount


@dataclass(frozen=True)
class StudyRow:
    """A study by Optuna's number of it, with its user attributes."""

    number: int
    name: str
    attributes: attributes.Attributes

    @property
    def summary(self) -> StudySummary:
        kept = self.attributes
        return StudySummary(self.name, attributes.spec(kept), attributes.result(kept), attributes.group_result(kept))


class Overview(ABC):
    """The studies of a storage."""

    @cached_property
    def ours(self) -> dict[str, StudyRow]:
        """The studies that this tool made, by name, in order of creation."""
        return {row.name: row for row in self._rows() if attributes.is_ours(row.attributes)}

    def counted(self, names: Iterable[str] | None = None) -> list[CountedStudy]:
        """Tells how far studies of ours are; without names all of them."""
        rows = list(self.ours.values()) if names is None else [self.ours[name] for name in names]
        counts = self._count([row.number for row in rows])
        return [CountedStudy(row.summary, counts.get(row.number, TrialCount())) for row in rows]

    def of_plan(self, plan: str) -> list[str]:
        """Returns the names of a plan's studies in its order.

        Raises:
            InputError: If there is no such plan.
        """
        found = sorted((plans[plan].position, name) for name, plans in self._memberships.items() if plan in plans)
        if not found:
            there = one_of(self.plans) or "no plans yet; make one with study create --plan MODEL"
            raise InputError(f"--plan: got {plan!r}, which matches no study; there: {there}")
        return [name for _, name in found]

    @property
    def plans(self) -> list[str]:
        """The names of all plans that studies of ours belong to."""
        return sorted({name for plans in self._memberships.values() for name in plans})

    @cached_property
    def _memberships(self) -> dict[str, Mapping[str, Membership]]:
        return {name: attributes.memberships(row.attributes) for name, row in self.ours.items()}

    @abstractmethod
    def _rows(self) -> Iterator[StudyRow]:
        """Yields all studies, anybody's."""

    @abstractmethod
    def _count(self, numbers: Sequence[int]) -> Mapping[int, TrialCount]:
        """Counts the trials of these studies, of those that have any."""


@contextmanager
def opened(storage: str | BaseStorage) -> Iterator[Overview]:
    """Opens the overview of a storage, or of the one at a URL.

    Raises:
        InputError: If there is no storage at the URL.
    """
    if not isinstance(storage, str):
        yield _overview_of(storage)
        return
    if (path := sqlite_file.path_in(storage)) is not None:
        sqlite_file.check(storage, path, create=False)
        with sqlite_file.reading(Path(path)) as connection:
            if sqlite_file.is_known(connection):
                yield _OfDatabase(connection.execute)
                return
    from autotune.study.storage import open_storage

    yield _overview_of(open_storage(storage))


def _overview_of(storage: BaseStorage) -> Overview:
    from optuna.storages import RDBStorage
    from sqlalchemy import text

    if not isinstance(storage, RDBStorage):
        return _InMemory(storage)

    def query(words: str) -> Iterable[Sequence[Any]]:
        with storage.engine.connect() as connection:
            return connection.execute(text(words)).fetchall()

    return _OfDatabase(query)


class _OfDatabase(Overview):
    def __init__(self, query: Query) -> None:
        self._query = query

    def _rows(self) -> Iterator[StudyRow]:
        kept: dict[int, dict[str, Any]] = {}
        for number, key, value in self._query(_ATTRIBUTES):
            kept.setdefault(number, {})[key] = _parsed(key, value)
        for number, name in self._query(_STUDIES):
            yield StudyRow(number, name, kept.get(number, {}))

    def _count(self, numbers: Sequence[int]) -> Mapping[int, TrialCount]:
        if not numbers:
            return {}
        listed = ", ".join(map(str, numbers))
        best_us = {row[0]: row[1] for row in self._query(_BEST.format(listed))}
        counts = self._query(_COUNTS.format(listed))
        return {number: TrialCount(count, best_us.get(number)) for number, count in counts}


def _parsed(key: str, value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"--storage: the attribute {shortened(key)} of a study is no JSON ({error}), so somebody else has written "
            "it; put back a copy, or give another storage"
        ) from error


class _InMemory(Overview):
    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def _rows(self) -> Iterator[StudyRow]:
        for study in self._storage.get_all_studies():
            yield StudyRow(study._study_id, study.study_name, study.user_attrs)

    def _count(self, numbers: Sequence[int]) -> Mapping[int, TrialCount]:
        return {number: self._count_one(number) for number in numbers}

    def _count_one(self, number: int) -> TrialCount:
        from optuna.trial import TrialState

        found = self._storage.get_all_trials(number, deepcopy=False)
        times = [trial.value for trial in found if trial.state == TrialState.COMPLETE and trial.value is not None]
        return TrialCount(len(found), min(times, default=None))
