"""From studies to results and files, from Python, on recorded spaces."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage

from autotune import api
from autotune.api import runs
from autotune.run.clock import Deadline
from autotune.run.options import LEAST_SEARCH_S
from autotune.run.queue import Turn
from autotune.run.races import RACES_S
from autotune.study import creation, studies
from tests.builders.double_study import SPEC

URL = "sqlite:///studies.db"
SHRINK = {"dtype": "float16", "batch_size": 16, "hidden_size": 5120, "lora_rank": 16, "num_loras": 4}


def test_studies_are_run_once_and_exported() -> None:
    storage = api.open_storage(URL, create=True)
    (name,) = api.of_problems(api.Problems("lora_shrink", SHRINK), api.Request(backend="replay")).create(storage)
    options = api.RunOptions(URL, sampler="random", stop="none")
    assert api.run(storage, api.find(storage), options, api.Budget(trials=4)) == []
    (study,) = api.find(storage)
    assert study.result is not None
    trials = len(study.study.trials)
    assert api.run(storage, [study], options, api.Budget(trials=8)) == []
    assert len(api.find_one(storage, name).study.trials) == trials, "what is finished stays as it is"
    report = api.export([study], Path("tuned"))
    table = json.loads(Path("tuned/NVIDIA_H200_SHRINK.json").read_text())
    assert table["5"]["1"]["16"]["5120"]["16"]["block_n"] == study.result.decision.config["block_n"]
    assert report.proofs
    api.write_csv([study], Path("all.csv"))
    assert len(Path("all.csv").read_text().splitlines()) == 1 + trials


@dataclass
class Phases:
    """Stands for all that runs studies, by a clock of its own, and writes down how much time each part is given.

    Attributes:
        unsearched: How many studies find no time at first.
        takes_s: How long each part runs, at most what it is given.
    """

    unsearched: int
    takes_s: float = inf
    now_s: float = 0.0
    given: list[tuple[str, float | None]] = field(default_factory=list)

    def take(self, part: str, time_s: float | None) -> None:
        self.given.append((part, None if time_s is None else round(time_s, 3)))
        self.now_s += min(self.takes_s, time_s or 0.0)


@pytest.fixture
def phases(monkeypatch: pytest.MonkeyPatch) -> Phases:
    found = Phases(unsearched=0)

    class Queue:
        failures: tuple[str, ...] = ()

        def __init__(self, run_turn: object, watcher: object, budget: api.Budget, worth: object) -> None:
            self.budget = budget
            self.unsearched: list[Turn] = []

        def run(self, turns: list[Turn]) -> None:
            found.take("searches", self.budget.timeout_s)
            self.unsearched = turns[: found.unsearched]

        def go_on(self, time_s: float | None) -> None:
            found.take("more", time_s)

    class Races:
        failures: tuple[str, ...] = ()

        def __init__(self, *about: object) -> None: ...

        def run(self, turns: object, time_s: float) -> None:
            found.take("races", time_s)

    class Meetings(Races):
        def run(self, turns: object, time_s: float) -> None:
            found.take("meetings", time_s)

    for name, stand_in in (("StudyQueue", Queue), ("RaceQueue", Races), ("HeadToHeads", Meetings)):
        monkeypatch.setattr(runs, name, stand_in)
    monkeypatch.setattr(runs, "Deadline", lambda time_s: Deadline(time_s, lambda: found.now_s))
    return found


def times_given(timeout_s: float | None, raced: int) -> None:
    """Runs ten studies, and others that are only raced."""
    storage, specs = InMemoryStorage(), {f"{i}": SPEC for i in range(10 + raced)}
    chosen = [studies.load(storage, name) for name in creation.create_all(storage, specs, skip_if_exists=False)]
    options, races = api.RunOptions("sqlite://"), [study.name for study in chosen[10:]]
    api.run(storage, chosen, options, api.Budget(5, timeout_s), raced=races)


def test_races_keep_the_time_that_they_need_and_no_more_than_their_share(phases: Phases) -> None:
    times_given(100.0, raced=5)
    assert phases.given[0] == ("searches", 95.0)
    times_given(100.0, raced=50)
    assert ("searches", 80.0) in phases.given


def test_a_search_that_found_no_time_comes_before_races_beside_others(phases: Phases) -> None:
    phases.unsearched = 4
    times_given(100.0, raced=20)
    late_s = 4 * LEAST_SEARCH_S
    assert phases.given[:3] == [("searches", 80.0), ("more", late_s), ("races", 20.0 - late_s)]


def test_time_that_is_left_over_is_given_on_and_no_part_runs_longer_than_all(phases: Phases) -> None:
    phases.takes_s = 10.0
    times_given(100.0, raced=20)
    assert phases.given == [("searches", 80.0), ("more", 70.0), ("races", 80.0), ("meetings", 70.0)]
    phases.takes_s, phases.now_s = inf, 0.0
    times_given(100.0, raced=20)
    assert phases.now_s == 100.0


def test_without_an_end_all_have_the_time_that_they_take(phases: Phases) -> None:
    times_given(None, raced=20)
    assert phases.given[:2] == [("searches", None), ("more", None)]
    assert phases.given[2] == ("races", RACES_S)
