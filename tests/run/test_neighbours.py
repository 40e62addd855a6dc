"""What finished studies measured is read once for each of their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from optuna.storages import BaseStorage

from autotune.run.neighbours import Neighbourhood
from autotune.run.options import Budget
from autotune.study import studies
from autotune.study.studies import Finished
from autotune.study.study import KernelStudy
from tests.builders.double_study import BUDGET, SPEC, runner_of

pytestmark = pytest.mark.usefixtures("here")


def test_what_a_neighbour_timed_is_read_once_for_each_result(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def load(storage: BaseStorage, name: str) -> KernelStudy:
        read.append(name)
        return loaded(storage, name)

    loaded = studies.load
    monkeypatch.setattr(studies, "load", load)
    one, wanted = (studies.create(storage, name, SPEC) for name in ("one", "wanted"))
    hood = Neighbourhood(storage)
    assert hood.of(wanted) == []
    with runner_of(storage) as running:
        running.run(one, BUDGET)
        (first,) = hood.of(wanted)
        assert hood.of(wanted) == [first]
        assert read == ["one"]
        one.reopen()
        assert hood.of(wanted) == []
        running.run(one, Budget(5))
    monkeypatch.setattr(studies, "finished", later(studies.finished))
    (again,) = hood.of(wanted)
    assert len(again.configs) > len(first.configs)
    assert read == ["one", "one"]


def later(finished: Callable[[BaseStorage], dict[str, Finished]]) -> Callable[[BaseStorage], dict[str, Finished]]:
    """Pretends that the results were of another second."""

    def found(storage: BaseStorage) -> dict[str, Finished]:
        return {
            name: replace(other, result=replace(other.result, finished="later"))
            for name, other in finished(storage).items()
        }

    return found
