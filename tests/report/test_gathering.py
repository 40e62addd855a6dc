"""What a report tells: results of studies, what a pass of the model saves, and why something is not tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from autotune import api
from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.report.content import ReportContent, ReportRow, Saving
from autotune.report.gathering import gather
from autotune.report.sections import rivals_section
from autotune.study import studies
from autotune.study.head_to_head import DEFAULT, OURS, SERVED, Contender, HeadToHead, Side
from autotune.study.membership import Membership
from autotune.study.result import WorkloadTimes
from autotune.study.study import KernelStudy
from tests.builders.double_study import HERE
from tests.builders.recordings import write_machine, write_recording
from tests.builders.specs import spec_on_gpu
from tests.builders.study_results import CONFIG, study_result
from tests.conftest import Cli

PLAN = (
    "--plan Qwen3-Embedding-0.6B --runtime sglang --lora-rank 64 --max-loras 1 --chunk-sizes 16 --dtype float16 "
    "--backend replay"
)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cli, str]:
    """Returns a storage with a plan of recorded studies, of which one is finished, and the plan's name."""
    made = Cli(tmp_path_factory.mktemp("planned"))
    (plan,) = [line.partition("--plan ")[2] for line in made("study create", PLAN).stderr.splitlines() if line]
    made.ok("study run csgmv_shrink-t30720-k1024-r64-s3* --trials 12 --sampler random --stop none")
    return made, plan


def told(planned: tuple[Cli, str]) -> ReportContent:
    made, plan = planned
    return gather(api.find(api.open_storage(made.url), plan_name=plan), plan)


def test_a_plan_tells_layers_and_what_a_pass_saves(planned: tuple[Cli, str]) -> None:
    found = told(planned)
    (row,) = [row for row in found.rows if row.state != "unfinished"]
    assert (row.layers, row.op, row.size, row.launches) == ("qkv_proj x28", "shrink", 16, 28)
    assert row.default_us is not None
    assert row.tuned_us is not None
    assert found.level == "chunk_size"
    assert found.savings == (Saving(16, 28 * row.default_us, 28 * row.tuned_us, missing=6),)
    assert found.savings[0].speedup == pytest.approx(row.speedup)


def test_what_is_not_finished_and_what_the_plan_leaves_out_is_told(planned: tuple[Cli, str]) -> None:
    found = told(planned)
    left = [row for row in found.rows if row.state == "unfinished"]
    assert len(left) == 6
    for row in left:
        assert f"{row.name}: not finished; go on with: study run {row.name}" in found.untuned
    assert any("--target-modules" in line for line in found.untuned)
    assert found.headline.endswith("6 are not finished.")


def test_without_a_plan_sizes_stand_for_layers(finished: Cli) -> None:
    found = gather(api.find(api.open_storage(finished.url)), None)
    assert [row.layers for row in found.rows] == [
        "num_slices 1, k 5120, n 16",
        "num_slices 1, k 16, n 5120, add_inputs 1",
    ]
    assert found.savings == ()
    assert found.machines == ("recorded on NVIDIA H200 (cuda 13.0, torch 2.11.0, triton 3.6.0)",)
    assert sum(found.spent_s.values()) > 0


@pytest.mark.parametrize("source", ["builtin", "sglang"])
def test_what_the_plug_in_makes_of_a_result_is_told_once(cli: Cli, tmp_path: Path, source: str) -> None:
    """And of ours alone."""
    write_machine(tmp_path / "recorded", "3.6.0")
    for slices in (1, 3):
        default = {"BLOCK_N": 16, "BLOCK_K": 256}
        write_recording(tmp_path / "recorded", f"{source}_shrink_K1024_R64_S{slices}_chunk16", [(default, 10.0)])
        flags = f"--hidden-size 1024 --lora-rank 64 --num-slices {slices} --chunk-sizes 16 --source builtin"
        cli.ok(f"study create --op-type csgmv_shrink {flags} --backend replay --recorded {tmp_path / 'recorded'}")
    notes = [line for line in gather(api.find(api.open_storage(cli.url)), None).advice if "plug-in" in line]
    assert len(notes) == (source == "builtin")
    assert all("its default of the shrink for decode batches" in note for note in notes)


def test_a_default_that_does_not_run_has_no_speed_up() -> None:
    row = ReportRow("a", "shrink", "", 16, 1, "k", "s", "h", None, "tuned", None, 2.0, 1.0, None, {}, 3, "")
    assert row.speedup is None
    assert row.of_floor == 0.5


def finished_csgmv(storage: BaseStorage, source: str, tuned_us: float, *workloads: WorkloadTimes) -> KernelStudy:
    """Makes a finished study of a plan's shrink, which a pass launches twice; its default takes double."""
    flags: dict[str, Any] = {"hidden_size": 1024, "lora_rank": 64, "chunk_size": 16, "num_loras": 8}
    kernel = registry.load("csgmv_shrink")
    problem = kernel.problem_from_flags(flags | {"workload": "mixed" if workloads else "prefill"})
    spec = replace(spec_on_gpu(kernel.name, problem, H200, HERE, "wide"), source=source)
    study = studies.create(storage, source, spec)
    result = study_result(2 * tuned_us, tuned_us)
    study.finish(replace(result, decision=replace(result.decision, workloads=workloads)))
    study.join("plan", Membership(0, 2.0, (), layers=("qkv_proj",), launches=2))
    return study


def test_a_pass_is_counted_by_prompts_where_decode_batches_were_timed_as_well() -> None:
    """Their mean is no time of a pass, and none to hold a time of prompts against."""
    prompts, decode = WorkloadTimes("prefill", 100.0, 80.0, 0.2), WorkloadTimes("decode of 8", 1.0, 0.5, 0.5)
    storage = InMemoryStorage()
    served = finished_csgmv(storage, "sglang", 6.0, prompts, decode)
    assert gather([served], "plan").savings == (Saving(16, 200.0, 160.0, missing=0),)
    ours = finished_csgmv(storage, "builtin", 30.0)
    times = {DEFAULT: 104.0, SERVED: 84.0, OURS: 31.0}
    sides = [Side(name, (Contender(name, CONFIG),), time_us) for name, time_us in times.items()]
    ours.keep_head_to_head(HeadToHead(tuple(sides), OURS, interleaved=True))
    assert gather([served, ours], "plan").savings == (Saving(16, 208.0, 168.0, missing=0, plugin_us=62.0),)
    assert "keeps the call" not in rivals_section(gather([served, ours], "plan")).note
    unknown = [replace(side, time_us=None) if side.name != OURS else side for side in sides]
    ours.keep_head_to_head(HeadToHead(tuple(unknown), SERVED, interleaved=False))
    assert gather([served, ours], "plan").savings == (Saving(16, 200.0, 160.0, missing=0, plugin_us=160.0),)
    assert rivals_section(gather([served, ours], "plan")).note.endswith("keeps the call until a run times both.")


@pytest.mark.parametrize(("winner", "plugin_us"), [(OURS, 60.0), (SERVED, 160.0)])
def test_what_ours_saves_is_counted_by_prompts_where_both_were_timed_on_decode_batches_too(
    winner: str, plugin_us: float
) -> None:
    """The two were raced on all of them at once."""
    decode = WorkloadTimes("decode of 8", 1.0, 0.5, 0.5)
    storage = InMemoryStorage()
    served = finished_csgmv(storage, "sglang", 6.0, WorkloadTimes("prefill", 100.0, 80.0, 0.2), decode)
    ours = finished_csgmv(storage, "builtin", 3.0, WorkloadTimes("prefill", 60.0, 30.0, 0.5), decode)
    times = {DEFAULT: 12.0, SERVED: 6.0, OURS: 3.0}
    sides = tuple(Side(name, (Contender(name, CONFIG),), time_us) for name, time_us in times.items())
    ours.keep_head_to_head(HeadToHead(sides, winner, interleaved=True, on_ours=True))
    assert gather([served, ours], "plan").savings == (Saving(16, 200.0, 160.0, missing=0, plugin_us=plugin_us),)
