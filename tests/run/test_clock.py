"""Where the time of a search goes, and when a run's is over, on a clock that stands still."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from autotune.run.clock import Clock, Deadline, Phase


@dataclass
class Now:
    s: float = 100.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def now() -> Now:
    return Now()


def test_the_time_of_a_phase_adds_up_whatever_happens_in_it(now: Now) -> None:
    clock = Clock(now)
    with clock.timing(Phase.SEARCH):
        now.s += 2
    with pytest.raises(KeyboardInterrupt), clock.timing(Phase.SEARCH):
        now.s += 3
        raise KeyboardInterrupt
    now.s += 1
    assert clock.spent_s(Phase.SEARCH) == 5
    assert clock.wall_s == 6


def test_results_keep_phases_by_these_names_and_count_no_second_twice(now: Now) -> None:
    clock = Clock(now)
    with clock.timing(Phase.MEASURE), clock.timing(Phase.LEARN):
        now.s += 4
    assert clock.spent_s(Phase.LEARN) == 4
    assert clock.seconds == {"compile_wait": 0, "measure": 4, "search": 0, "storage": 0}
    assert sum(clock.seconds.values()) == clock.wall_s


def test_a_deadline_that_is_past_leaves_nothing(now: Now) -> None:
    deadline = Deadline(10.0, now)
    now.s += 4
    assert deadline.left_s == 6
    now.s += 20
    assert deadline.left_s == 0


def test_without_a_limit_there_is_no_end(now: Now) -> None:
    assert Deadline(None, now).left_s is None
