"""Studies in a storage: created, listed and opened again."""

from __future__ import annotations

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from autotune.errors import InputError
from autotune.study import studies
from tests.builders.double_study import KERNEL, PROBLEM, SPEC


@pytest.fixture
def storage() -> BaseStorage:
    return InMemoryStorage()


def test_a_study_survives_the_storage(storage: BaseStorage) -> None:
    created = studies.create(storage, "one", SPEC)
    loaded = studies.load(storage, "one")
    assert loaded.spec == created.spec == SPEC
    assert loaded.problem == PROBLEM
    assert loaded.kernel is KERNEL
    assert loaded.result is None


def test_a_second_study_of_a_name_is_refused(storage: BaseStorage) -> None:
    studies.create(storage, "one", SPEC)
    with pytest.raises(InputError, match=r"study one exists; go on with it \(study run one\)"):
        studies.create(storage, "one", SPEC)


def test_studies_are_listed_in_order_without_those_of_others(storage: BaseStorage) -> None:
    studies.create(storage, "two", SPEC)
    optuna.create_study(storage=storage, study_name="theirs")
    studies.create(storage, "one", SPEC)
    assert studies.names(storage) == ["two", "one"]
    with pytest.raises(InputError, match="theirs was not made by this tool"):
        studies.load(storage, "theirs")
    with pytest.raises(InputError, match="got 'three', the storage has: two, one"):
        studies.load(storage, "three")
