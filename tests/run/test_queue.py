"""How a run's time is shared: evenly first, what is left to those that it was too short for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autotune.errors import AutotuneError, HeldError, InputError
from autotune.run.options import Budget
from autotune.run.progress import OnProgress, Progress
from autotune.run.queue import LEAST_TURN_S, Result, StudyQueue, Turn
from autotune.study.study import KernelStudy
from tests.builders.study_results import group_result, study_result


@dataclass
class Study:
    """A study as far as a queue knows it.

    Attributes:
        gain_left: What its search still expects to save when its time is over.
        takes_s: What it takes if there is time enough; None for all that it gets.
        held_until_s: Until when another process is at it.
    """

    name: str
    gain_left: float = 0.0
    takes_s: float | None = None
    group: str | None = None
    error: BaseException | None = None
    finished: bool = False
    held_until_s: float = 0.0

    @property
    def spec(self) -> Any:
        return SimpleNamespace(group=self.group)

    def reopen(self) -> None:
        assert self.finished
        self.finished = False


@dataclass
class Run:
    """A machine that measures nothing, by a clock of its own, and a display that writes everything down."""

    now_s: float = 0.0
    taken: list[tuple[str, float | None]] = field(default_factory=list)
    trials: set[int] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    following: list[str | None] = field(default_factory=list)

    def run_turn(self, turn: Turn, budget: Budget, on_progress: OnProgress, following: KernelStudy | None) -> Result:
        study = cast(Study, turn.studies[0])
        assert not study.finished
        self.taken.append((turn.name, None if budget.timeout_s is None else round(budget.timeout_s, 3)))
        self.trials.add(budget.trials)
        self.following.append(following.name if following else None)
        if self.now_s < study.held_until_s:
            raise HeldError(f"{turn.name} is being run by process 7")
        if study.error is not None:
            raise study.error
        used_s = study.takes_s if study.takes_s is not None else budget.timeout_s or 0.0
        self.now_s += used_s
        on_progress(Progress(study.name, 10, Counter(), 1.0, 2.0, study.gain_left, "finalists"))
        study.finished = True
        if study.group is not None:
            return group_result(study.group, {}, {})
        return study_result(wall_s=used_s)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.told.append("sleep")

    def on_start(self, turn: Turn) -> None:
        self.told.append(f"start {turn.name}")

    def on_progress(self, progress: Progress) -> None:
        self.told.append(f"progress {progress.study}")

    def on_result(self, turn: Turn, result: Result) -> None:
        self.told.append(f"result {turn.name}")

    def on_held(self, turn: Turn, why: str) -> None:
        self.told.append(f"held {turn.name}")

    def on_failure(self, turn: Turn) -> None:
        self.told.append(f"failure {turn.name}")

    def queue(self, timeout_s: float | None = 30.0, worth: Mapping[str, float] | None = None) -> StudyQueue:
        return StudyQueue(self.run_turn, self, Budget(7, timeout_s), worth, lambda: self.now_s, self.sleep)


QUICK = Study("quick", takes_s=0.0)
HOPEFUL = Study("hopeful", gain_left=0.01)
PROMISING = Study("promising", gain_left=0.1)


@pytest.fixture
def run() -> Run:
    for study in (QUICK, HOPEFUL, PROMISING):
        study.finished = False
    return Run()


def turns(*studies: Study) -> list[Turn]:
    return [Turn([cast(KernelStudy, study)]) for study in studies]


def test_what_a_quick_one_leaves_is_shared_by_those_to_come(run: Run) -> None:
    run.queue().run(turns(QUICK, HOPEFUL, PROMISING))
    assert run.taken == [("quick", 10.0), ("hopeful", 15.0), ("promising", 15.0)], "nothing is left"
    assert run.trials == {7}


def test_what_is_left_at_the_end_goes_where_most_is_to_be_gained(run: Run) -> None:
    run.queue().run(turns(HOPEFUL, PROMISING, QUICK))
    assert run.taken[:3] == [("hopeful", 10.0), ("promising", 10.0), ("quick", 10.0)]
    assert run.taken[3] == ("promising", 5.0)
    assert run.now_s <= 30.0
    assert 30.0 - run.now_s < LEAST_TURN_S * 2, "two are left to share it"
    assert all(study.finished for study in (QUICK, HOPEFUL, PROMISING))


def test_worth_decides_between_them(run: Run) -> None:
    run.queue(worth={"hopeful": 100.0}).run(turns(HOPEFUL, PROMISING, QUICK))
    assert run.taken[3][0] == "hopeful"


def test_a_turn_too_short_for_another_race_is_not_taken(run: Run) -> None:
    almost = Study("almost", takes_s=10.0 - 0.9 * LEAST_TURN_S)
    run.queue(20.0).run(turns(PROMISING, almost))
    assert [name for name, _ in run.taken] == ["promising", "almost"]


def test_a_study_that_ended_before_its_time_is_not_taken_again(run: Run) -> None:
    early = Study("early", gain_left=0.5, takes_s=9.0)
    run.queue(20.0).run(turns(early))
    assert [name for name, _ in run.taken] == ["early"]


def test_nothing_to_run_takes_no_turn(run: Run) -> None:
    StudyQueue(run.run_turn, run, Budget(100, 60.0), now_s=lambda: run.now_s).run([])
    assert run.taken == []


def test_without_a_limit_each_has_its_turn_and_all_the_time(run: Run) -> None:
    run.queue(None).run(turns(PROMISING, QUICK))
    assert run.taken == [("promising", None), ("quick", None)]
    assert run.following == ["quick", None]


def test_a_group_gets_the_share_of_its_studies_and_one_turn(run: Run) -> None:
    members = [Study(name, gain_left=0.5, group="both") for name in ("one", "two")]
    run.queue().run([Turn([cast(KernelStudy, member) for member in members]), *turns(QUICK)])
    assert run.taken == [("both", 20.0), ("quick", 10.0)]


def test_a_failure_keeps_nobody_else_from_running(run: Run) -> None:
    queue = run.queue()
    queue.run(turns(Study("broken", error=AutotuneError("study broken: no config ran")), QUICK))
    assert queue.failures == ["study broken: no config ran"]
    assert run.told == ["start broken", "failure broken", "start quick", "progress quick", "result quick"]


def test_what_the_user_has_to_mend_ends_the_run(run: Run) -> None:
    with pytest.raises(InputError, match="elsewhere"):
        run.queue().run(turns(Study("foreign", error=InputError("created elsewhere")), QUICK))
    assert run.told == ["start foreign"]


@pytest.mark.parametrize("stopped", ["on_start", "on_progress"])
def test_ctrl_c_stops_with_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch, stopped: str) -> None:
    def press(self: Run, event: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, stopped, press)
    with pytest.raises(AutotuneError, match="stopped in quick; nothing measured is lost: study run goes on"):
        run.queue().run(turns(QUICK, PROMISING))
    assert "promising" not in [name for name, _ in run.taken]


def test_what_another_process_runs_is_passed_by_and_come_back_to(run: Run) -> None:
    held, free = Study("held", takes_s=1.0, held_until_s=5.0), Study("free", takes_s=2.0)
    queue = run.queue(None)
    queue.run(turns(held, free))
    assert [name for name, _ in run.taken] == ["held", "free", *["held"] * 4]
    assert run.told.count("held held") == 1, "it is said once"
    assert run.told.count("sleep") == 3, "it waits only when nothing else is to be done"
    assert held.finished
    assert queue.failures == []


def test_what_another_process_still_runs_when_time_is_up_has_failed(run: Run) -> None:
    queue = run.queue(20.0)
    queue.run(turns(Study("held", held_until_s=100.0), Study("free", takes_s=2.0)))
    assert queue.failures == ["held is being run by process 7"]
    assert 20.0 <= run.now_s < 30.0
