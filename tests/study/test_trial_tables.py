"""Trials that are read by SQL are those that Optuna reads: every state, kind of value and of parameter."""

from __future__ import annotations

import itertools
import math
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import hypothesis.strategies as st
import optuna
import pytest
from hypothesis import given, settings
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.errors import InputError
from autotune.study import overview, sqlite_file, studies
from autotune.study.storage import open_storage
from autotune.study.stored_study import StoredStudy
from autotune.study.stored_trial import StoredTrial
from autotune.study.trial_tables import trials_of
from tests.builders import postgresql, quick_storage
from tests.builders.double_study import SPEC

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | FINITE | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
DISTRIBUTIONS: dict[str, tuple[BaseDistribution, st.SearchStrategy[Any]]] = {
    "block_m": (IntDistribution(16, 128, log=True), st.sampled_from([16, 32, 64, 128])),
    "num_stages": (IntDistribution(1, 4), st.integers(1, 4)),
    "split_k": (CategoricalDistribution((1, 4, 16)), st.sampled_from([1, 4, 16])),
    "maxnreg": (CategoricalDistribution((None, 64, 128)), st.sampled_from([None, 64, 128])),
    "größe": (CategoricalDistribution((True, 0.5, "groß")), st.sampled_from([True, 0.5, "groß"])),
    "share": (FloatDistribution(0.0, 1.0), st.floats(0.0, 1.0)),
}


@st.composite
def trials(draw: st.DrawFn) -> FrozenTrial:
    state = draw(st.sampled_from(TrialState))
    names = draw(st.lists(st.sampled_from(sorted(DISTRIBUTIONS)), unique=True))
    has_value = state == TrialState.COMPLETE or (state == TrialState.PRUNED and draw(st.booleans()))
    return create_trial(
        state=state,
        value=draw(st.floats(allow_nan=False)) if has_value else None,
        params={name: draw(DISTRIBUTIONS[name][1]) for name in names},
        distributions={name: DISTRIBUTIONS[name][0] for name in names},
        user_attrs=draw(st.dictionaries(st.text(min_size=1, max_size=5), JSON, max_size=3)),
        intermediate_values=draw(st.dictionaries(st.integers(0, 1000), st.floats(), max_size=4)),
    )


STUDIES = st.lists(st.tuples(NAMES, st.lists(trials(), max_size=5)), max_size=3, unique_by=lambda found: found[0])


def spelled(number: float | None) -> str:
    """Spells a number, for equality of what is none as well."""
    return repr(number)


def told(trial: StoredTrial) -> tuple[Any, ...]:
    """Returns all that is read of a trial, equal for equal trials, each value with its type."""
    return (
        trial.number,
        trial.state,
        spelled(trial.value),
        [(name, repr(value)) for name, value in trial.params.items()],
        {name: json_to_distribution(found) for name, found in trial.distributions.items()},
        {name: repr(value) for name, value in trial.user_attrs.items()},
        {step: spelled(value) for step, value in trial.intermediate_values.items()},
    )


def by_optuna(trial: FrozenTrial) -> tuple[Any, ...]:
    return (
        trial.number,
        trial.state.name,
        spelled(trial.value),
        [(name, repr(value)) for name, value in trial.params.items()],
        trial.distributions,
        {name: repr(value) for name, value in trial.user_attrs.items()},
        {step: spelled(value) for step, value in trial.intermediate_values.items()},
    )


def check_as_optuna(storage: BaseStorage, read: overview.Overview) -> None:
    """Compares all studies of ours with what Optuna itself says of them."""
    ours = [study for study in storage.get_all_studies() if "autotune" in study.user_attrs]
    assert list(read.ours) == [study.study_name for study in ours]
    for theirs in ours:
        study = read.study(theirs.study_name)
        expected = storage.get_all_trials(theirs._study_id)
        assert (study.name, study.user_attrs) == (theirs.study_name, theirs.user_attrs)
        assert [told(trial) for trial in study.trials()] == [by_optuna(trial) for trial in expected]
        assert study.count_trials() == len(expected)
        opened: StoredStudy = studies.load(storage, theirs.study_name)
        assert [told(trial) for trial in opened.trials()] == [told(trial) for trial in study.trials()]
        assert (opened.summary, opened.count_trials()) == (study.summary, len(expected))


def fill(storage: BaseStorage, wanted: list[tuple[str, list[FrozenTrial]]], prefix: str) -> None:
    for name, found in wanted:
        studies.create(storage, f"{prefix} {name}", SPEC).study.add_trials(found)


@pytest.fixture(scope="module")
def file_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/a.db"


@pytest.fixture(scope="module")
def file_storage(file_url: str) -> Iterator[BaseStorage]:
    storage = open_storage(file_url, create=True)
    yield storage
    storage.engine.dispose()  # type: ignore[attr-defined]


_example = itertools.count()


@settings(max_examples=12)
@given(wanted=STUDIES)
def test_a_file_is_read_as_optuna_reads_it(
    file_url: str, file_storage: BaseStorage, wanted: list[tuple[str, list[FrozenTrial]]]
) -> None:
    for name in [study.study_name for study in file_storage.get_all_studies()]:
        optuna.delete_study(study_name=name, storage=file_storage)
    fill(file_storage, wanted, str(next(_example)))
    check_as_optuna(file_storage, overview.of(file_url))
    check_as_optuna(file_storage, overview.of(file_storage))


@settings(max_examples=10)
@given(wanted=STUDIES)
def test_a_storage_in_memory_is_read_through_optuna(wanted: list[tuple[str, list[FrozenTrial]]]) -> None:
    storage = InMemoryStorage()
    fill(storage, wanted, "")
    check_as_optuna(storage, overview.of(storage))


def finished(value: float = 2.0) -> FrozenTrial:
    distributions = {name: kind for name, (kind, _) in DISTRIBUTIONS.items()}
    params = {"block_m": 32, "num_stages": 3, "split_k": 4, "maxnreg": None, "größe": "groß", "share": 0.25}
    samples = {0: 2.0, 1: math.inf, 2: -math.inf, 3: math.nan}
    attributes = {"status": "ok", "message": "ü", "workloads_us": {"decode": 1.0}}
    return create_trial(
        value=value, params=params, distributions=distributions, user_attrs=attributes, intermediate_values=samples
    )


def test_a_server_is_read_as_optuna_reads_it() -> None:
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed (extra postgresql)")
    if (programs := postgresql.programs()) is None:
        pytest.skip("needs PostgreSQL")
    with tempfile.TemporaryDirectory() as folder, postgresql.cluster(Path(folder), programs) as url:
        storage = open_storage(url)
        others = [create_trial(state=TrialState.FAIL), create_trial(state=TrialState.WAITING)]
        fill(storage, [("ä", [finished(), finished(math.inf), *others]), ("b", [])], "")
        check_as_optuna(storage, overview.of(url))
        storage.engine.dispose()  # type: ignore[attr-defined]


def test_what_is_asked_and_told_in_turn_is_read_as_it_stands(file_url: str, file_storage: BaseStorage) -> None:
    study = studies.create(file_storage, "in turn", SPEC).study
    study.enqueue_trial({"x": 1})
    study.tell(study.ask({"x": IntDistribution(1, 2)}), 3.0)
    study.ask({"x": IntDistribution(1, 2)}).report(1.5, 0)
    study.enqueue_trial({"x": 2})
    check_as_optuna(file_storage, overview.of(file_url))
    states = [trial.state for trial in overview.of(file_url).study("in turn").trials()]
    assert states == ["COMPLETE", "RUNNING", "WAITING"]


def test_tables_of_another_version_are_read_through_optuna(
    file_url: str, file_storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(file_storage, [("one", [finished()])], "another version")
    monkeypatch.setattr(sqlite_file, "SCHEMA", "v9.9.9.a")
    monkeypatch.setattr(overview, "_known", WeakKeyDictionary())  # it was looked at before
    monkeypatch.setattr(overview, "trials_of", None)
    check_as_optuna(file_storage, overview.of(file_url))


def test_a_parameter_of_an_older_kind_is_left_to_optuna() -> None:
    uniform = '{"name": "IntUniformDistribution", "attributes": {"low": 1, "high": 4, "step": 1}}'
    with pytest.warns(FutureWarning, match="deprecated"):
        (trial,) = trials_of(lambda _: [[(7, 0, "RUNNING")], [], [(7, "x", 3.0, uniform)], [], []], 1)
    assert trial.params == {"x": 3}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_params SET distribution_json = '[]'",
        "UPDATE trial_params SET distribution_json = '{\"name\": 1'",
        "UPDATE trial_params SET param_value = 99 WHERE param_name = 'split_k'",
        "UPDATE trial_user_attributes SET value_json = '{'",
        "UPDATE trial_values SET value = NULL",
        "UPDATE trial_intermediate_values SET intermediate_value_type = 'ELSE', intermediate_value = NULL",
    ],
)
def test_what_optuna_never_wrote_is_refused(tmp_path: Path, change: str) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    storage = RDBStorage(url)
    fill(storage, [("one", [finished()])], "")
    storage.engine.dispose()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        connection.execute(change)
    with pytest.raises(InputError, match="trial 0 of a study is not as Optuna stores it"):
        overview.of(url).study(" one").trials()


@settings(max_examples=15)
@given(st.lists(trials(), min_size=1, max_size=5))
def test_what_the_tests_store_in_a_quick_way_is_what_optuna_stores(found: list[FrozenTrial]) -> None:
    def rows(url: str) -> dict[str, list[Any]]:
        study = optuna.create_study(storage=open_storage(url, create=True), study_name="one")
        study.add_trials(found)
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        quick_storage.leave_to_optuna(patch)
        by_optuna = rows(f"sqlite:///{folder}/optuna.db")
        quick_storage.install(patch)
        assert rows(f"sqlite:///{folder}/quick.db") == by_optuna
