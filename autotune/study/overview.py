"""Reads what a storage says of its studies, without Optuna: all of them by one query for each table, and the trials of
those that are asked for.

To load Optuna and have it open a storage takes a second, and to have it read 50,000 trials half a minute.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from autotune.errors import InputError, one_of
from autotune.study import attributes, sqlite_file
from autotune.study.membership import Membership
from autotune.study.result import StudyResult
from autotune.study.spec import StudySpec
from autotune.study.stored_study import StoredStudy
from autotune.study.stored_trial import StoredTrial
from autotune.study.summary import StudySummary
from autotune.study.trial_tables import Query, Row, trials_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage

# The parts of Optuna's tables that are read here; a test compares with what Optuna itself says.
_STUDIES = "SELECT study_id, study_name FROM studies ORDER BY study_id"
_ATTRIBUTES = "SELECT kept.study_id, kept.key, kept.value_json FROM study_user_attributes kept"
_ONE = "SELECT study_id FROM studies WHERE study_id = {}"
_OF_ONE = f"{_ATTRIBUTES} WHERE kept.study_id = {{}}"
_BOTH = (
    "SELECT studies.study_name, one.value_json, other.value_json FROM studies "
    "JOIN study_user_attributes one ON one.study_id = studies.study_id AND one.key = '{}' "
    "JOIN study_user_attributes other ON other.study_id = studies.study_id AND other.key = '{}' "
    "ORDER BY studies.study_id"
)
_COUNTS = "SELECT study_id, COUNT(*) FROM trials WHERE study_id IN ({}) GROUP BY study_id"
_BEST = (
    "SELECT trials.study_id, MIN(trial_values.value) FROM trials "
    "JOIN trial_values ON trial_values.trial_id = trials.trial_id "
    "WHERE trials.state = 'COMPLETE' AND trials.study_id IN ({}) GROUP BY trials.study_id"
)


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

    def study(self, name: str) -> StoredStudy:
        """Returns one of ours."""
        return _OverviewedStudy(self, self.ours[name])

    def counted(self, names: Iterable[str] | None = None) -> list[CountedStudy]:
        """Tells how far studies of ours are; without names all of them."""
        rows = list(self.ours.values()) if names is None else [self.ours[name] for name in names]
        counts = self.count([row.number for row in rows])
        return [CountedStudy(row.summary, counts.get(row.number, TrialCount())) for row in rows]

    def whole_groups(self, names: Iterable[str]) -> list[str]:
        """Puts all members of a group in place of any of them, in order of creation; each study comes once."""
        of_group: dict[str, list[str]] = {}
        for row in self.ours.values():
            if (group := attributes.group(row.attributes)) is not None:
                of_group.setdefault(group, []).append(row.name)
        groups = {name: attributes.group(self.ours[name].attributes) for name in names}
        together = [[name] if group is None else of_group[group] for name, group in groups.items()]
        return list(dict.fromkeys(name for found in together for name in found))

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

    def finished(self) -> Iterator[tuple[str, StudySpec, StudyResult]]:
        """Yields the name, spec and result of the studies of ours that have one, in order of creation."""
        for name, *texts in self._texts(*attributes.OF_FINISHED):
            if (found := attributes.finished(*texts)) is not None:
                yield name, *found

    @abstractmethod
    def attributes_of(self, number: int) -> attributes.Attributes:
        """Reads the user attributes of one study.

        Raises:
            KeyError: If it is not there any more.
        """

    @abstractmethod
    def _texts(self, one: str, other: str) -> Sequence[Row]:
        """Reads the names of the studies that have these two attributes, and the JSON of both."""

    @abstractmethod
    def _rows(self) -> Iterator[StudyRow]:
        """Yields all studies, anybody's."""

    @abstractmethod
    def count(self, numbers: Sequence[int]) -> Mapping[int, TrialCount]:
        """Counts the trials of these studies, of those that have any."""

    @abstractmethod
    def trials(self, number: int) -> list[StoredTrial]:
        """Reads the trials of a study, in the order of their creation."""


class _OverviewedStudy(StoredStudy):
    """A study as it was when the overview was made; its trials are read when they are asked for."""

    def __init__(self, overview: Overview, row: StudyRow) -> None:
        super().__init__(row.name, attributes.spec(row.attributes))
        self._overview = overview
        self._row = row

    @property
    def user_attrs(self) -> attributes.Attributes:
        return self._row.attributes

    def trials(self) -> list[StoredTrial]:
        return self._overview.trials(self._row.number)

    def count_trials(self) -> int:
        return self._overview.count([self._row.number]).get(self._row.number, TrialCount()).trials


def of(storage: str | BaseStorage) -> Overview:
    """Returns the overview of a storage, or of the one at a URL.

    Raises:
        InputError: If there is no storage at the URL.
    """
    if not isinstance(storage, str):
        return _of_opened(storage)
    if (path := sqlite_file.path_in(storage)) is not None:
        sqlite_file.check(storage, path, create=False)
        with sqlite_file.reading(Path(path)) as connection:
            is_known = sqlite_file.is_known(connection)
        if is_known:
            return _OfTables(lambda statements: _read_file(Path(path), statements))
    from autotune.study.storage import open_storage

    return _of_opened(open_storage(storage))


def _read_file(path: Path, statements: Sequence[str]) -> list[list[Row]]:
    with sqlite_file.reading(path) as connection:
        connection.execute("BEGIN")  # What others write meanwhile is in none of the answers, or in all.
        return [connection.execute(statement).fetchall() for statement in statements]


def _of_opened(storage: BaseStorage) -> Overview:
    from optuna.storages import RDBStorage
    from sqlalchemy import text

    if not isinstance(storage, RDBStorage) or not _is_known(storage):
        return _ThroughOptuna(storage)

    def query(statements: Sequence[str]) -> list[Sequence[Row]]:
        with storage.engine.connect() as connection:
            return [connection.execute(text(statement)).fetchall() for statement in statements]

    return _OfTables(query)


_known: WeakKeyDictionary[RDBStorage, bool] = WeakKeyDictionary()


def _is_known(storage: RDBStorage) -> bool:
    """Tells whether a storage's tables are of the version that is read here, which no use of it changes."""
    if (found := _known.get(storage)) is None:
        found = _known[storage] = storage.get_current_version() == sqlite_file.SCHEMA
    return found


class _OfTables(Overview):
    """Reads Optuna's tables, of the version that is known here."""

    def __init__(self, query: Query) -> None:
        self._query = query

    def _rows(self) -> Iterator[StudyRow]:
        kept: dict[int, dict[str, Any]] = {}
        stored, studies = self._query([_ATTRIBUTES, _STUDIES])
        for number, key, value in stored:
            kept.setdefault(number, {})[key] = attributes.parsed(key, value)
        for number, name in studies:
            yield StudyRow(number, name, kept.get(number, {}))

    def attributes_of(self, number: int) -> attributes.Attributes:
        there, kept = self._query([_ONE.format(number), _OF_ONE.format(number)])
        if not there:
            raise KeyError(number)
        return {key: attributes.parsed(key, value) for _, key, value in kept}

    def _texts(self, one: str, other: str) -> Sequence[Row]:
        (found,) = self._query([_BOTH.format(one, other)])
        return found

    def count(self, numbers: Sequence[int]) -> Mapping[int, TrialCount]:
        if not numbers:
            return {}
        listed = ", ".join(map(str, numbers))
        best, counts = self._query([_BEST.format(listed), _COUNTS.format(listed)])
        best_us = {row[0]: row[1] for row in best}
        return {number: TrialCount(count, best_us.get(number)) for number, count in counts}

    def trials(self, number: int) -> list[StoredTrial]:
        return trials_of(self._query, number)


class _ThroughOptuna(Overview):
    """Asks Optuna, of a storage in memory or with tables of a version that is not known here."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def _rows(self) -> Iterator[StudyRow]:
        for study in self._storage.get_all_studies():
            yield StudyRow(study._study_id, study.study_name, study.user_attrs)

    def attributes_of(self, number: int) -> attributes.Attributes:
        return self._storage.get_study_user_attrs(number)

    def _texts(self, one: str, other: str) -> Sequence[Row]:
        names = (one, other)
        rows = [(row.name, [row.attributes.get(name) for name in names]) for row in self._rows()]
        return [(name, *map(json.dumps, kept)) for name, kept in rows if None not in kept]

    def count(self, numbers: Sequence[int]) -> Mapping[int, TrialCount]:
        return {number: self._count_one(number) for number in numbers}

    def _count_one(self, number: int) -> TrialCount:
        found = self.trials(number)
        times = [trial.value for trial in found if trial.state == "COMPLETE" and trial.value is not None]
        return TrialCount(len(found), min(times, default=None))

    def trials(self, number: int) -> list[StoredTrial]:
        return [StoredTrial.of(trial) for trial in self._storage.get_all_trials(number, deepcopy=False)]
