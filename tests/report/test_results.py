"""What is said of results: of several workloads each, and of studies that were stored before there were any."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from autotune.api import write_csv
from autotune.cli.export_output import Target, export_studies
from autotune.contract import Config, registry
from autotune.contract.converter import from_json
from autotune.contract.gpu import H200
from autotune.environment import Environment
from autotune.kernels.csgmv_shrink.problem import CsgmvShrinkProblem
from autotune.measure.result import Measurement
from autotune.report.note import study_note
from autotune.report.results import result_line, time_line, unsearched_lines
from autotune.run.options import Budget, RunOptions
from autotune.run.runner import Runner
from autotune.study import creation
from autotune.study.result import StudyResult
from autotune.study.spec import StudySpec
from autotune.study.studies import load
from autotune.study.study import KernelStudy
from tests.builders.specs import spec_on_gpu
from tests.builders.stand_in_backend import StandIn, StandInBackends

STORED = Path(__file__).parents[2] / "docs" / "data" / "studies-h200.json"
PROBLEM = CsgmvShrinkProblem("float16", 16, 64, 16, 1, num_loras=2, workload="mixed", decode_requests=(8,), k=64)
HERE = Environment("NVIDIA H200", triton="3.6.0")
SPEC = spec_on_gpu("csgmv_shrink", PROBLEM, H200, HERE, "sglang-grid")


class FourWarpsAreFaster(StandIn):
    """Decode gains nothing, prefill half of what the default takes."""

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        return self.race([config], 7)[0]

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        found = []
        for config in configs:
            prefill_us, decode_us = 40.0 if config["num_warps"] == 4 else 80.0, 20.0
            samples = {"prefill": (prefill_us,) * rounds, "decode of 8": (decode_us,) * rounds}
            found.append(Measurement("ok", ((prefill_us * decode_us) ** 0.5,) * rounds, workloads_us=samples))
        return found


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> KernelStudy:
    """Returns a finished study of two workloads."""
    monkeypatch.setattr("autotune.run.identity.current_environment", lambda: HERE)
    storage = InMemoryStorage()
    (name,) = creation.create_all(storage, {"mixed": SPEC}, skip_if_exists=False)
    options = RunOptions("sqlite:///:memory:", sampler="random")
    with Runner(storage, options, StandInBackends(lambda study: FourWarpsAreFaster())) as runner:
        runner.run(load(storage, name), Budget(8))
    return load(storage, name)


def test_a_run_tells_where_its_time_went(mixed: KernelStudy) -> None:
    assert mixed.result is not None
    known = {"compile_wait": 1.0, "measure": 2.0, "search": 0.5, "storage": 0.25, "finalists": 0.25, "wall": 5.0}
    mixed.finish(replace(mixed.result, seconds=known))
    assert time_line([mixed, mixed], 10.0) == (
        "2 studies in 10.0 s: 2.0 waiting for compilers, 4.0 measuring, 1.0 choosing, 0.5 storing, "
        "0.5 racing finalists, 2.0 all else"
    )
    assert time_line([mixed], 10.0).startswith("1 study in 10.0 s: ")


def test_a_study_that_had_no_time_is_told_from_one_whose_default_is_best(mixed: KernelStudy) -> None:
    assert mixed.result is not None
    kept = replace(mixed.result.decision, outcome="default")
    searched = replace(mixed.result, decision=kept, configs=8, counts={"ok": 6, "pruned": 2})
    unsearched = replace(searched, counts={"ok": 1})
    assert "nothing that slows no workload is faster beyond the noise" in result_line("mixed", searched)
    assert "was not searched (1 of 8 configs measured), keeps the default" in result_line("mixed", unsearched)
    assert "nothing" in result_line("mixed", replace(unsearched, configs=1))
    assert "nothing" in result_line("mixed", replace(unsearched, raced_from=("beside",)))
    mixed.finish(searched)
    assert unsearched_lines([mixed], "the last") == []
    mixed.finish(unsearched)
    (line,) = unsearched_lines([mixed, mixed], "the last")
    assert line.startswith("2 of 2 studies were not searched")
    mixed.reopen()
    (line,) = unsearched_lines([mixed], "the last")
    assert line.startswith("1 of 1 studies found no time, the last: their lookups keep the default")


def test_a_result_tells_each_workload_and_the_worst(mixed: KernelStudy) -> None:
    assert mixed.result is not None
    decision = mixed.result.decision
    assert decision.outcome == "tuned"
    assert decision.incumbent_us == pytest.approx(40)
    assert decision.worst_workload is not None
    assert decision.worst_workload.name == "decode of 8"
    assert {times.name: (times.incumbent_us, times.tuned_us) for times in decision.workloads} == {
        "prefill": (80, 40),
        "decode of 8": (20, 20),
    }
    assert "worst on decode of 8: 20.00 -> 20.00 us" in result_line("mixed", mixed.result)
    note = study_note(mixed)
    assert "- on prefill: 80.00 -> 40.00 us" in note
    assert "the server reads 16." in note


def test_each_workloads_times_go_into_csv_and_side_car(mixed: KernelStudy, tmp_path: Path) -> None:
    write_csv([mixed], tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["num_warps"], row["prefill us"], row["decode of 8 us"]) for row in rows} >= {("4", "40.0", "20.0")}
    export_studies([mixed], Target(tmp_path / "tuned", "merge"))
    entries = json.loads((tmp_path / "tuned" / "autotune" / "autotune-provenance.json").read_text())["entries"]
    (own,) = [entry["provenance"] for entry in entries if entry["kind"] == "own"]
    assert [w["name"] for w in own["workloads"]] == ["prefill", "decode of 8"]


@pytest.mark.parametrize("stored", json.loads(STORED.read_text())["studies"], ids=lambda stored: stored["name"])
def test_results_stored_before_there_were_workloads_are_read(stored: dict[str, Any]) -> None:
    old = {name: value for name, value in stored["result"].items() if name not in ("workloads", "worst_workload")}
    assert from_json(StudyResult, old).decision.workloads == ()
    spec = from_json(StudySpec, stored["spec"])
    problem = registry.load(spec.kernel).problem_type.from_json(spec.problem)
    assert problem.to_json() == spec.problem
