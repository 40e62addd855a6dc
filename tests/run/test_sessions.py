"""The next study is opened, and its first configs compiled, before its turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from optuna.storages import BaseStorage

from autotune.contract import Config
from autotune.errors import InputError
from autotune.measure.result import Measurement
from autotune.run.neighbours import Neighbourhood
from autotune.search.neighbour import Neighbour
from autotune.study import studies
from autotune.study.spec import StudySpec
from autotune.study.study import KernelStudy
from tests.builders.double_study import BUDGET, HERE, SPEC, runner_of
from tests.builders.stand_in_backend import StandIn

pytestmark = pytest.mark.usefixtures("here")


def test_what_follows_is_compiled_while_a_study_is_decided(storage: BaseStorage) -> None:
    happened: list[str] = []

    class Recorded(StandIn):
        def __init__(self, name: str) -> None:
            self.study = name
            happened.append(f"open {name}")

        def compile_ahead(self, configs: Sequence[Config]) -> None:
            if configs:
                happened.append(f"compile {self.study}")

        def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
            happened.append(f"race {self.study}")
            return super().race(configs, rounds)

        def close(self) -> None:
            happened.append(f"close {self.study}")

    one, two, three = (studies.create(storage, name, SPEC) for name in ("one", "two", "three"))
    with runner_of(storage, lambda study: Recorded(study.name)) as running:
        running.run(one, BUDGET, following=two)
        assert list(dict.fromkeys(happened)) == [
            "open one", "compile one", "open two", "compile two", "race one", "close one"
        ]  # fmt: skip
        happened.clear()
        running.run(two, BUDGET, following=three)
        assert "open two" not in happened, "it was open already"
        assert list(dict.fromkeys(happened))[-2:] == ["race two", "close two"]
        happened.clear()
    assert happened == ["close three"], "prepared and never run"


UNPREPARED = [
    pytest.param(replace(SPEC, space_fingerprint="0123"), "its space 'wide' has changed", id="its space"),
    pytest.param(
        replace(SPEC, environment=replace(HERE, gpu="NVIDIA H100")), "was created elsewhere", id="its machine"
    ),
]


@pytest.mark.parametrize(("spec", "message"), UNPREPARED)
def test_what_cannot_be_prepared_says_so_in_its_own_turn(storage: BaseStorage, spec: StudySpec, message: str) -> None:
    changed = studies.create(storage, "changed", spec)
    with runner_of(storage) as running:
        assert running.run(studies.create(storage, "one", SPEC), BUDGET, following=changed).counts == {"ok": 3}
        with pytest.raises(InputError, match=message):
            running.run(changed, BUDGET)


def test_a_study_is_decided_whatever_is_wrong_with_the_next_ones_neighbours(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def neighbours(self: Neighbourhood, wanted: KernelStudy) -> list[Neighbour]:
        if wanted.name == "next":
            raise InputError("kernel: its file is gone")
        return []

    monkeypatch.setattr(Neighbourhood, "of", neighbours)
    one, following = (studies.create(storage, name, SPEC) for name in ("one", "next"))
    with runner_of(storage) as running:
        assert running.run(one, BUDGET, following=following).counts == {"ok": 3}
        with pytest.raises(InputError, match="is gone"):
            running.run(following, BUDGET)
