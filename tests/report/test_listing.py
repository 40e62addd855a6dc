"""Where studies stand, before, during and after their runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.contract import Call
from autotune.report.listing import listing, state_of
from autotune.study.overview import CountedStudy, TrialCount
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


def test_a_decided_study_tells_default_tuned_and_speed_up() -> None:
    found = state_of(CountedStudy(replace(NEW, result=study_result()), TrialCount(3, 2.0)))
    assert (found.default_us, found.tuned_us, found.speedup) == (2.0, 1.0, 2.0)
    assert state_of(CountedStudy(NEW, TrialCount())).speedup is None


@pytest.mark.parametrize("width", [80, 140])
def test_a_row_takes_a_line_and_no_word_is_broken(width: int) -> None:
    sizes = [{"max_loras": 5, "num_slices": slices, "m": m, "k": 16384} for m in (1, 8192) for slices in (1, 3)]
    specs = [replace(SPEC, kernel="lora_shrink", call=Call("vllm", "shrink", each)) for each in sizes]
    names = [f"lora_shrink-{i}-with-a-long-name-of-its-own" for i in range(4)]
    summaries = [StudySummary(name, spec, study_result()) for name, spec in zip(names, specs, strict=True)]
    studies = [CountedStudy(each, TrialCount(60, 2.0)) for each in summaries]
    by_name, by_size = listing(studies)
    lines = by_name.lines if by_name.width <= width else by_size.lines
    assert len(lines) == 5
    assert all(len(line) <= width for line in lines)
    if width == 80:
        # All have one k and one number of adapters: no columns of their own.
        assert lines[0].split()[:4] == ["kernel", "slices", "m", "state"]
        assert lines[4].split()[:4] == ["lora_shrink", "3", "8192", "tuned"]
    else:
        assert "lora_shrink-3-with-a-long-name-of-its-own" in lines[4]
