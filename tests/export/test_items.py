"""Finished studies become what is exported: one item for each entry, with where it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import create_trial

from autotune import servers
from autotune.contract import AnyKernel, Call, registry
from autotune.contract.converter import to_json
from autotune.errors import InputError
from autotune.export.export import export
from autotune.export.items import calls, export_items
from autotune.servers import provenance, stand_back
from autotune.study import creation, studies
from autotune.study.describe import Request
from autotune.study.result import Finalist, StudyResult
from autotune.study.spec import StudySpec
from autotune.study.study import KernelStudy
from tests.builders.study_results import group_result, study_result

((NAME, SPEC),) = creation.describe_flags(
    Request("lora_shrink", backend="replay"),
    {"dtype": "float16", "hidden_size": 5120, "lora_rank": 16, "num_loras": 4},
    (16,),
).items()
CALL = Call("vllm", "shrink", {"max_loras": 5, "num_slices": 1, "m": 16, "k": 5120, "n": 16}, triton="3.6.0")


def stored(spec: StudySpec, result: StudyResult | None, name: str = NAME) -> KernelStudy:
    study = studies.create(InMemoryStorage(), name, spec)
    if result is not None:
        study.finish(result)
    return study


def test_a_tuned_study_is_one_item_with_its_origin() -> None:
    result = study_result()
    (item,) = export_items([stored(SPEC, result)])
    assert (item.study, item.call, item.gpu_name) == (NAME, CALL, "NVIDIA H200")
    assert item.config == result.decision.config
    assert not item.is_incumbent
    assert item.timings is None
    assert item.provenance["recording"] == "vllm_shrink_M16_K5120_N16_L4_S1"
    assert item.provenance["problem"] == SPEC.problem
    assert (item.provenance["outcome"], item.provenance["tuned_us"]) == ("tuned", 1.0)
    assert "group" not in item.provenance
    assert calls(SPEC) == [item.call]


@pytest.mark.parametrize(("workload", "alone"), [("prefill", "prefill"), ("decode", "decode"), ("mixed", None)])
@pytest.mark.parametrize("outcome", ["tuned", "default"])
def test_a_side_car_tells_on_which_kind_of_batches_an_entry_was_timed(
    tmp_path: Path, workload: str, alone: str | None, outcome: Literal["tuned", "default"]
) -> None:
    """Of a default that was kept, too: the plug-in reads its entry as any other."""
    flags = {"dtype": "float16", "hidden_size": 1024, "lora_rank": 64, "chunk_size": 16, "num_slices": 3}
    ((name, spec),) = creation.describe_flags(Request("csgmv_shrink", backend="replay"), flags, ()).items()
    problem = registry.load("csgmv_shrink").problem_from_flags({**flags, "workload": workload})
    result = study_result(outcome=outcome)
    decision = replace(result.decision, config={"BLOCK_N": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 2})
    spec = replace(spec, source="builtin", problem=to_json(problem))
    study = stored(spec, replace(result, decision=decision), name)
    export(export_items([study]), tmp_path)
    (record,) = (each for each in provenance.read(tmp_path / "autotune") if each.study)
    assert record.workload == alone


def test_a_study_that_keeps_the_default_says_so() -> None:
    (item,) = export_items([stored(SPEC, study_result(outcome="default"))])
    assert item.is_incumbent


def test_an_unfinished_study_has_nothing_to_export() -> None:
    assert export_items([stored(SPEC, None)]) == []


def test_timings_are_those_of_the_race_and_of_the_search() -> None:
    study = stored(SPEC, None)
    space = study.open_space(Request().recorded_dir)
    other = next(config for config in space.configs if config != space.incumbent)
    for config, time_us in ((space.incumbent, 4.0), (other, 3.0)):
        study.study.add_trial(
            create_trial(value=time_us, params=space.params(config), distributions=space.distributions)
        )
    decision = replace(
        study_result().decision, incumbent=space.incumbent, config=other, finalists=(Finalist(other, 2.0, 0.5),)
    )
    study.finish(replace(study_result(), decision=decision))
    (item,) = export_items([study], with_timings=True)
    assert item.timings is not None
    race, alone = item.timings.tables
    assert list(race.values()) == [2.0]
    assert sorted(alone.values()) == [3.0, 4.0]
    assert set(race) < set(alone), "a config is one launch in both"


@pytest.mark.parametrize(("source", "is_own"), [("builtin", True), ("vllm", False)])
def test_an_entry_of_ours_may_go_only_where_nothing_is_lost_to_our_own_default(source: str, is_own: bool) -> None:
    study = stored(replace(SPEC, source=source), None)
    incumbent = study.open_space(Request().recorded_dir).incumbent
    own = study.kernel.own_default(study.problem, study.gpu)
    finalists = tuple(Finalist(config or {}, 2.0, 0.0) for config in (incumbent, own))
    decision = replace(study_result().decision, incumbent=incumbent, config=incumbent, finalists=finalists)
    study.finish(replace(study_result(), decision=decision))
    (item,) = export_items([study], with_timings=True)
    assert item.timings is not None
    server = servers.get("vllm")
    assert item.timings.default == (server.entry(own or {}, CALL) if is_own else server.default_config(CALL))


def test_a_kernel_without_a_server_cannot_be_exported() -> None:
    with pytest.raises(InputError, match="kernel lora_shrink: no server loads configs"):
        export_items([stored(replace(SPEC, call=None), study_result())])


def test_a_member_of_a_family_cannot_be_exported_alone() -> None:
    alone = Call("vllm", "fused_moe_lora_w13_shrink", {})
    with pytest.raises(InputError, match="a study of it alone cannot be exported"):
        calls(replace(SPEC, call=alone))


def test_a_group_is_exported_whole_or_not_at_all() -> None:
    member = stored(replace(SPEC, group="together"), study_result(), "one")
    member.finish_group(group_result("together", {"one": study_result(), "two": study_result()}, {}))
    with pytest.raises(InputError, match="group together: two is missing or unfinished"):
        export_items([member])


MOE = {
    "dtype": "bfloat16",
    "hidden_size": 2048,
    "moe_intermediate_size": 768,
    "lora_rank": 16,
    "num_loras": 2,
    "num_experts": 128,
    "top_k_num": 8,
    "block_m": 128,
}
DEFAULT_OF_OURS = {"block_m": 128, "block_n": 64, "block_k": 64, "column_blocks": 1, "num_warps": 8, "num_stages": 3}


@pytest.mark.parametrize(
    ("m", "outcome", "is_zeros"), [(8192, "default", True), (1024, "default", False), (8192, "tuned", False)]
)
def test_a_default_that_runs_nowhere_without_an_entry_is_left_to_the_server(
    m: int, outcome: Literal["default", "tuned"], is_zeros: bool
) -> None:
    """Nothing has raced it against the server's own kernel, and the plug-in would launch it only by this entry."""
    kernel: AnyKernel = registry.load("aligned_moe_lora_gate_up")
    problem = kernel.problem_from_flags({**MOE, "m": m})
    spec = replace(SPEC, kernel=kernel.name, problem=problem.to_json(), call=kernel.call(problem))
    (item,) = export_items([stored(spec, study_result(outcome=outcome, config=DEFAULT_OF_OURS))])
    assert not item.is_incumbent
    entry = item.entry(servers.get(item.call.server))
    assert entry == (stand_back.entry(DEFAULT_OF_OURS) if is_zeros else DEFAULT_OF_OURS)
