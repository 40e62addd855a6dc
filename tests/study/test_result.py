"""Results of studies and groups are the same after storage, in the very JSON that storages have held so far."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.contract.converter import from_json, to_json
from autotune.study.result import Decision, GroupResult, StudyResult, WorkloadTimes
from autotune.study.spec import StudySpec
from tests.builders.study_results import CONFIG, study_result

DATA = Path(__file__).parents[2] / "docs" / "data"
STORED = [study for file in sorted(DATA.glob("*.json")) for study in json.loads(file.read_text()).get("studies", [])]
DENSE = [study for study in STORED if study["result"]]
GROUPS = [study for study in STORED if study.get("group_result")]
SINCE_WORKLOADS = ("workloads", "worst_workload")


def same_text(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)


def test_results_of_studies_keep_their_json() -> None:
    assert len(DENSE) > 100
    for study in DENSE:
        again = to_json(from_json(StudyResult, study["result"]))
        if "workloads" not in study["result"]:
            assert {name: again.pop(name) for name in SINCE_WORKLOADS} == {"workloads": [], "worst_workload": None}
        assert same_text(again, study["result"]), study["name"]


def test_results_of_groups_keep_their_json() -> None:
    assert len(GROUPS) > 10
    for study in GROUPS:
        assert same_text(to_json(from_json(GroupResult, study["group_result"])), study["group_result"])


def test_specs_keep_their_json() -> None:
    for study in STORED:
        again = to_json(from_json(StudySpec, study["spec"]))
        if "group" not in study["spec"]:
            assert again.pop("group") is None
        assert same_text(again, study["spec"]), study["name"]


def test_a_decision_names_its_worst_workload() -> None:
    workloads = (WorkloadTimes("prefill", 80.0, 40.0, 0.5), WorkloadTimes("decode", None, 20.0, 0.0))
    decision = Decision("tuned", CONFIG, CONFIG, 40.0, 28.0, 0.001, (), workloads)
    data = to_json(decision)
    assert data["worst_workload"] == "decode"
    assert from_json(Decision, data) == decision


@pytest.mark.parametrize(("incumbent_us", "speedup"), [(3.0, 2.0), (None, None)])
def test_speedup_is_known_where_the_default_runs(incumbent_us: float | None, speedup: float | None) -> None:
    assert study_result(incumbent_us, tuned_us=1.5).decision.speedup == speedup
