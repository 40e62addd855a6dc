"""All studies of a storage are read without their trials, and without Optuna, to what Optuna itself says."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import TrialState, create_trial

from autotune.errors import InputError
from autotune.study import overview, sqlite_file, studies
from autotune.study.overview import CountedStudy, TrialCount
from autotune.study.storage import open_storage
from tests.builders.double_study import SPEC
from tests.builders.study_results import study_result

TRIALS = [create_trial(value=3.0), create_trial(value=2.0), create_trial(state=TrialState.FAIL)]
PRUNED = create_trial(state=TrialState.PRUNED, value=1.0, intermediate_values={0: 1.0})


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/a.db"


@pytest.fixture(params=["file", "memory"])
def storage(request: pytest.FixtureRequest, url: str) -> BaseStorage:
    return InMemoryStorage() if request.param == "memory" else open_storage(url, create=True)


def counted(storage: BaseStorage | str, *names: str) -> dict[str, CountedStudy]:
    return {each.summary.name: each for each in overview.of(storage).counted(names or None)}


def test_every_study_is_counted_by_itself(storage: BaseStorage) -> None:
    for name, trials in (("one", [*TRIALS, PRUNED]), ("none", []), ("failed", TRIALS[2:])):
        studies.create(storage, name, SPEC).study.add_trials(trials)
    found = counted(storage)
    assert {name: each.count for name, each in found.items()} == {
        "one": TrialCount(4, 2.0),
        "none": TrialCount(),
        "failed": TrialCount(1),
    }
    assert found["one"].count.best_us == optuna.load_study(storage=storage, study_name="one").best_value
    assert found["one"].summary == studies.load(storage, "one").summary
    assert counted(storage, "failed", "one") == {name: found[name] for name in ("failed", "one")}


def test_finished_studies_are_found_as_they_are_now(storage: BaseStorage) -> None:
    optuna.create_study(storage=storage, study_name="theirs").set_user_attr("result", {"outcome": "tuned"})
    one, two, _ = (studies.create(storage, name, SPEC) for name in ("one", "two", "unfinished"))
    results = {"one": study_result(tuned_us=1.0), "two": study_result(tuned_us=2.0)}
    for study in (one, two):
        study.finish(results[study.name])
    assert {name: found.result for name, found in studies.finished(storage).items()} == results
    assert all(found.spec == SPEC for found in studies.finished(storage).values())
    one.reopen()
    assert list(studies.finished(storage)) == ["two"]
    one.finish(results["two"])
    assert studies.finished(storage)["one"].result == results["two"]


def test_an_open_study_says_what_optuna_says_of_it(storage: BaseStorage) -> None:
    study = studies.create(storage, "one", SPEC)
    assert study.user_attrs == study.study.user_attrs
    study.study.set_user_attr("x", [1])
    assert study.user_attrs["x"] == [1]
    studies.delete(storage, "one")
    with pytest.raises(KeyError):
        _ = study.user_attrs


def test_a_url_says_what_its_storage_says(url: str) -> None:
    storage = open_storage(url, create=True)
    optuna.create_study(storage=storage, study_name="theirs").set_user_attr("x", [1])
    for name in ("two", "one"):
        studies.create(storage, name, SPEC).study.add_trials(TRIALS)
    assert counted(url) == counted(storage)
    assert list(counted(url)) == ["two", "one"], "in order of creation, without those of others"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite+pysqlite:///:memory:"])
def test_a_database_in_memory_is_refused_as_one(url: str) -> None:
    with pytest.raises(InputError, match="in memory"):
        counted(url)
    with pytest.raises(InputError, match="in memory"):
        open_storage(url, create=True)


def test_a_database_of_another_version_is_left_to_optuna(url: str, tmp_path: Path) -> None:
    storage = RDBStorage(url)
    assert storage.get_head_version() == sqlite_file.SCHEMA
    storage.engine.dispose()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v2.4.0.a'")
    with pytest.raises(InputError, match="no longer compatible"):
        counted(url)


@pytest.mark.parametrize("content", [b"", None])
def test_a_database_that_is_being_made_has_no_studies(url: str, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "a.db"
    if content is None:
        RDBStorage(url)
    else:
        file.write_bytes(content)
    assert counted(url) == {}


def test_no_trial_of_a_study_that_is_not_named_is_read(storage: BaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(storage, InMemoryStorage):
        pytest.skip("a storage in memory has its trials at hand")
    for name in ("one", "two"):
        studies.create(storage, name, SPEC).study.add_trials(TRIALS)
    monkeypatch.setattr(type(storage), "get_all_trials", None)
    assert counted(storage)["one"].count == TrialCount(3, 2.0)
    assert studies.load(storage, "two").result is None
