"""Where studies stand, before, during and after their runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.report.listing import state_of
from autotune.study.counting import TrialCount
from autotune.study.studies import CountedStudy
from autotune.study.summary import StudySummary
from tests.builders.double_study import SPEC
from tests.builders.study_results import study_result

NEW = StudySummary("one", SPEC, None)


@pytest.mark.parametrize(
    ("summary", "count", "state"),
    [
        (NEW, TrialCount(), "new"),
        (NEW, TrialCount(3, 2.0), "started"),
        (replace(NEW, result=study_result()), TrialCount(3, 2.0), "tuned"),
    ],
)
def test_a_study_is_new_then_started_then_decided(summary: StudySummary, count: TrialCount, state: str) -> None:
    found = state_of(CountedStudy(summary, count))
    assert (found.state, found.trials, found.best_us) == (state, count.trials, count.best_us)


def test_json_names_a_group_only_where_there_is_one() -> None:
    assert "group" not in state_of(CountedStudy(NEW, TrialCount())).to_json()
    grouped = replace(NEW, spec=replace(SPEC, group="together"))
    assert state_of(CountedStudy(grouped, TrialCount())).to_json()["group"] == "together"
