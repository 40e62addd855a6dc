"""Studies are read by a storage's URL as by the storage, and a wrong name says what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage

from autotune import api
from autotune.errors import InputError
from autotune.study import studies
from autotune.study.storage import open_storage
from tests.builders.double_study import SPEC
from tests.conftest import Cli

GROUPED = {"one": None, "two": "pair", "three": None, "four": "pair"}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/a.db"


@pytest.fixture
def storage(url: str) -> BaseStorage:
    return open_storage(url, create=True)


def test_what_is_read_is_what_is_opened(finished: Cli) -> None:
    opened = api.find(api.open_storage(finished.url))
    read = api.read(finished.url)
    assert [item.summary for item in read] == [item.summary for item in opened]
    assert [item.trials() for item in read] == [item.trials() for item in opened]
    assert [item.name for item in api.read(finished.url, ["*expand*"])] == [opened[1].name]


def test_a_group_comes_whole_and_each_study_once(url: str, storage: BaseStorage) -> None:
    for name, group in GROUPED.items():
        studies.create(storage, name, replace(SPEC, group=group))
    assert [item.name for item in api.read(url)] == list(GROUPED)
    assert [item.name for item in api.read(url, whole_groups=True)] == ["one", "two", "four", "three"]
    assert [item.name for item in api.read(url, ["four"], whole_groups=True)] == ["two", "four"]
    chosen = studies.whole_groups(storage, [studies.load(storage, name) for name in ("three", "four")])
    assert [item.name for item in chosen] == ["three", "two", "four"]


def test_a_wrong_name_is_one_short_line_in_a_large_storage(storage: BaseStorage) -> None:
    for number in range(7):
        studies.create(storage, f"study{number}", SPEC)
    for name, said in {"s*": "matches 7", "three": "the storage has"}.items():
        with pytest.raises(InputError, match=f"{said}: study0, study1, study2, study3, study4 and 2 more; "):
            api.read_one(storage, name)
    with pytest.raises(InputError, match=r"matches none of: study0, .* and 2 more; see study list"):
        api.read(storage, ["three*"])


def test_a_wrong_name_says_what_is_wrong_with_it(url: str, storage: BaseStorage) -> None:
    for name in ("one", "other"):
        studies.create(storage, name, SPEC)
    optuna.create_study(storage=storage, study_name="theirs").set_user_attr("x", 1)
    optuna.create_study(storage=storage, study_name="killed")
    assert api.read_one(url, "on*").name == "one"
    for name, said in {
        "o*": "matches 2: one, other",
        "three": "got 'three', the storage has: one, other",
        "theirs": "theirs was not made by this tool; its studies here: one, other",
        "killed": "its study create was killed",
    }.items():
        for place in (url, storage):
            with pytest.raises(InputError, match=said):
                api.read_one(place, name)
