"""What our kernel launches where no file has an entry is always measured, and always raced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from optuna.storages import BaseStorage

from autotune.contract import Config
from autotune.measure.result import Measurement
from autotune.report.results import result_line
from autotune.run.options import Budget
from autotune.run.races import race
from autotune.run.sessions import Session, Sessions
from autotune.search import SAMPLERS
from autotune.search.making import make_search
from autotune.study import studies
from tests.builders.double_study import KERNEL, SPACE, SPEC, runner_of
from tests.builders.stand_in_backend import StandIn

pytestmark = pytest.mark.usefixtures("here")

OWN: Config = {"repeats": 1, "fault": 0}


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(type(KERNEL), "own_default", lambda *_: OWN)
    return OWN


class OwnIsFaster(StandIn):
    """Takes half the time with the kernel's own default, and notes what is measured."""

    def __init__(self) -> None:
        self.measured: list[Config] = []

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        self.measured.append(config)
        return Measurement("ok", (self._us(config),) * 7)

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        return [Measurement("ok", (self._us(config),) * rounds) for config in configs]

    def _us(self, config: Config) -> float:
        return 1.0 if config == OWN else 2.0


@pytest.mark.parametrize("trials", [1, 2])
def test_it_is_taken_where_nothing_else_is_searched(own: Config, storage: BaseStorage, trials: int) -> None:
    result = runner_of(storage, lambda study: OwnIsFaster()).run(studies.create(storage, "one", SPEC), Budget(trials))
    assert result.decision.outcome == "tuned"
    assert result.decision.config == own
    assert not result.was_searched
    told = (
        f"one: was not searched ({trials} of {len(SPACE)} configs measured), takes the kernel's own default (1.00 us)"
    )
    assert result_line("one", result) == told


def test_it_is_measured_right_behind_the_incumbent(own: Config, storage: BaseStorage) -> None:
    backend = OwnIsFaster()
    result = runner_of(storage, lambda study: backend).run(studies.create(storage, "one", SPEC), Budget(5))
    assert backend.measured[:2] == [SPACE.incumbent, own]
    assert len(backend.measured) == 5
    assert result.was_searched


def test_it_is_none_of_a_servers_own_kernel(own: Config, storage: BaseStorage) -> None:
    served = studies.create(storage, "served", replace(SPEC, source="vllm"))
    assert served.own_default is None
    assert studies.create(storage, "ours", SPEC).own_default == own


@pytest.mark.parametrize("lacking", [{"repeats": 3, "fault": 0}, {"repeats": 1}, SPACE.incumbent], ids=str)
def test_a_space_that_lacks_it_does_without(
    lacking: Config, storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(KERNEL), "own_default", lambda *_: lacking)
    assert Session(studies.create(storage, "one", SPEC), SPACE, StandIn()).own_defaults == ()


def test_it_is_raced_with_the_winners_beside(
    own: Config, storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sessions, "beside", lambda *_: {"other": {"repeats": 4, "fault": 0}})
    backend = OwnIsFaster()
    result = race(runner_of(storage, lambda study: backend), studies.create(storage, "one", SPEC))
    assert backend.measured == [SPACE.incumbent, own, {"repeats": 4, "fault": 0}]
    assert result.decision.config == own
    assert result.raced_from == ("other",)


@pytest.mark.parametrize("name", SAMPLERS)
def test_whatever_searches_is_told_what_comes_first(name: str, storage: BaseStorage) -> None:
    study = studies.create(storage, "one", SPEC).study
    search = replace(make_search(name, SPACE, 0), first=(OWN,))
    listed = search.shortlist(study, 6)
    assert listed[:2] == [SPACE.incumbent, OWN]
    assert len(listed) == 6
    assert listed.count(OWN) == 1
