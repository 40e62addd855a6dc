"""How a run's time is shared: what is needed at least, the rest by worth, what is left to whom it was too short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autotune.errors import AutotuneError, HeldError, InputError
from autotune.run.options import BEGUN, LEAST_SEARCH_S, Budget
from autotune.run.progress import OnProgress, Progress
from autotune.run.queue import LEAST_TURN_S, Result, StudyQueue, Turn
from autotune.study.study import KernelStudy
from tests.builders.study_results import group_result, study_result


@dataclass
class Study:
    """A study as far as a queue knows it.

    Attributes:
        gain_left: What its search still expects to save when its time is over.
        begins_s: What it takes until its search has begun, its race included.
        takes_s: What it takes if there is time enough; None for all that it gets.
        held_until_s: Until when another process is at it.
    """

    name: str
    gain_left: float = 0.0
    begins_s: float = LEAST_SEARCH_S
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
    """A machine that measures nothing, by a clock of its own, and a display that writes everything down.

    Attributes:
        starts_s: How long the first turn waits for the machine.
        taken: Each turn, and its share of the time.
    """

    now_s: float = 0.0
    starts_s: float = 0.0
    taken: list[tuple[str, float | None]] = field(default_factory=list)
    trials: set[int] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    following: list[str | None] = field(default_factory=list)

    def run_turn(self, turn: Turn, budget: Budget, on_progress: OnProgress, following: KernelStudy | None) -> Result:
        study = cast(Study, turn.studies[0])
        assert not study.finished
        self.taken.append((turn.name, None if budget.share_s is None else round(budget.share_s, 3)))
        self.trials.add(budget.trials)
        self.following.append(following.name if following else None)
        if self.now_s < study.held_until_s:
            raise HeldError(f"{turn.name} is being run by process 7")
        if study.error is not None:
            raise study.error
        used_s, begun, cut = self._searched(study, budget)
        self.now_s += used_s
        counts, gain_left = Counter(ok=BEGUN if begun else 1), study.gain_left
        on_progress(Progress(study.name, 10, counts, 1.0, 2.0, gain_left, "finalists", out_of_time=cut))
        study.finished = True
        if study.group is not None:
            return group_result(study.group, {}, {})
        return study_result(wall_s=used_s)

    def _searched(self, study: Study, budget: Budget) -> tuple[float, bool, bool]:
        """Returns how long a search takes, whether it begins, and whether time ends it."""
        starts_s, self.starts_s = self.starts_s, 0.0
        begins_s, takes_s = starts_s + study.begins_s, None if study.takes_s is None else starts_s + study.takes_s
        if budget.timeout_s is None or budget.share_s is None:
            return takes_s or 0.0, True, False
        most_s = min(budget.timeout_s, begins_s + budget.share_s)
        used_s = most_s if takes_s is None else min(takes_s, most_s)
        return used_s, used_s >= begins_s or used_s == takes_s, used_s != takes_s

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
    each_s, then_s = 10.0 - LEAST_SEARCH_S, 15.0 - LEAST_SEARCH_S
    assert run.taken == [("quick", each_s), ("hopeful", then_s), ("promising", then_s)], "nothing is left"
    assert run.now_s == 30.0
    assert run.trials == {7}


def test_what_is_left_at_the_end_goes_where_most_is_to_be_gained(run: Run) -> None:
    run.queue().run(turns(HOPEFUL, PROMISING, QUICK))
    assert run.taken[:3] == [(name, 10.0 - LEAST_SEARCH_S) for name in ("hopeful", "promising", "quick")]
    assert run.taken[3] == ("promising", 5.0 - LEAST_SEARCH_S)
    assert run.now_s <= 30.0
    assert 30.0 - run.now_s < LEAST_TURN_S * 2, "two are left to share it"
    assert all(study.finished for study in (QUICK, HOPEFUL, PROMISING))


def test_time_that_nobody_needs_at_least_is_shared_by_worth_and_so_is_the_rest(run: Run) -> None:
    run.queue(120.0, worth={"hopeful": 20.0}).run(turns(HOPEFUL, PROMISING, QUICK))
    assert run.taken[0] == ("hopeful", round((120.0 - 3 * LEAST_SEARCH_S) * 20 / 22, 3))
    assert run.taken[3][0] == "hopeful", "more is to be gained by another"


def test_a_turn_too_short_for_another_race_is_not_taken(run: Run) -> None:
    almost = Study("almost", takes_s=10.0 - 0.9 * LEAST_TURN_S)
    run.queue(20.0).run(turns(PROMISING, almost))
    assert [name for name, _ in run.taken] == ["promising", "almost"]


def test_what_a_machine_takes_to_start_is_charged_to_nobody(run: Run) -> None:
    run.starts_s = 5.0
    queue, four = run.queue(20.0), [Study(name, gain_left=0.1) for name in "abcd"]
    queue.run(turns(*four))
    assert queue.unsearched == []
    assert [name for name, _ in run.taken] == ["a", "b", "c", "d"]
    assert run.taken[0] == ("a", 5.0 - LEAST_SEARCH_S), (
        "the first one searches for as long as if the machine had been there"
    )
    assert run.now_s == 20.0


def test_where_time_is_too_short_for_all_those_worth_most_are_searched_and_no_time_is_lost_on_others(run: Run) -> None:
    every = [Study(f"{i}", takes_s=0.9 * LEAST_SEARCH_S) for i in range(38)]
    worth = {study.name: 36.0 if int(study.name) % 2 else 1.0 for study in every}
    queue = run.queue(20 * LEAST_SEARCH_S, worth)
    queue.run(turns(*every))
    taken = [int(name) for name, _ in run.taken]
    assert taken[:19] == list(range(1, 38, 2)), "each that is worth most, in the plan's order"
    assert {turn.name for turn in queue.unsearched} == {study.name for study in every if not study.finished}
    assert 0 < len(queue.unsearched) < 38 - 20, "what the others leave is used"
    assert run.now_s <= 20 * LEAST_SEARCH_S


def test_one_is_run_however_short_the_time(run: Run) -> None:
    run.queue(0.1, worth={"promising": 2.0}).run(turns(HOPEFUL, PROMISING))
    assert [name for name, _ in run.taken] == ["promising"]


def test_a_search_that_time_ended_before_it_began_comes_before_all_that_is_left_to_gain(run: Run) -> None:
    slow = Study("slow", begins_s=12.0, takes_s=14.0)
    queue = run.queue(10.0)
    queue.run(turns(slow, PROMISING))
    assert [name for name, _ in run.taken] == ["slow", "promising"], "it keeps no time from the other"
    assert run.now_s == 10.0
    assert [turn.name for turn in queue.unsearched] == ["slow"]
    queue.go_on(40.0)
    assert [name for name, _ in run.taken] == ["slow", "promising", "slow", "promising"]
    assert queue.unsearched == []
    assert run.now_s <= 50.0


def test_nothing_that_is_finished_is_taken_up_by_more_time(run: Run) -> None:
    queue = run.queue(20.0)
    queue.run(turns(QUICK))
    queue.go_on(20.0)
    assert [name for name, _ in run.taken] == ["quick"]


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
    assert [name for name, _ in run.taken] == ["both", "quick"]
    assert run.taken[0] == ("both", 20.0 - 2 * LEAST_SEARCH_S)


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
