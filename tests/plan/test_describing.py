"""Studies of what the plug-in launches for experts: with the block_m that the server will have aligned to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.storages import BaseStorage

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.errors import InputError
from autotune.model.shape import look_up
from autotune.plan import plan as plans
from autotune.plan.decided import decided
from autotune.plan.describing import Described, describe, replacements, waiting
from autotune.plan.plan import Plan
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.vllm import facts
from autotune.servers.vllm.server import VLLM
from autotune.study import studies
from autotune.study.describe import Request
from autotune.study.storage import open_storage
from tests.builders.double_study import HERE
from tests.builders.specs import spec_on_gpu
from tests.builders.study_results import study_result
from tests.builders.tables import nested

OURS = Request(backend="cuda", source="builtin")
KERNELS = ["aligned_moe_lora_gate_up", "aligned_moe_lora_down"]


@pytest.fixture(autouse=True)
def _on_an_h200(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("autotune.plan.describing", "autotune.study.describe"):
        monkeypatch.setattr(f"{module}.cuda_available", lambda: True)
        monkeypatch.setattr(f"{module}.current_gpu", lambda: H200)
    monkeypatch.setattr("autotune.study.describe.current_environment", lambda: HERE)
    monkeypatch.delenv(facts.CONFIG_FOLDER, raising=False)


@pytest.fixture
def storage() -> BaseStorage:
    return open_storage("sqlite:///studies.db", create=True)


def experts(*m: int, rank: int = 16, fully_sharded: bool = False) -> Plan:
    serving = Serving("vllm", tp=2, rank=rank, max_loras=4, fully_sharded=fully_sharded, target_modules=("experts",))
    return plans.make(look_up("Qwen3-30B-A3B"), serving, Batches(m_values=m))


def block_ms(found: list[Described]) -> list[int]:
    return [spec.problem["block_m"] for each in found for spec in each.specs.values()]


def test_our_kernels_are_tuned_in_the_place_of_the_group_at_what_a_server_without_a_folder_takes() -> None:
    found = describe(experts(64, 256, 1024), [OURS])
    searched = [each for each in found if not each.raced]
    assert {each.entry.kernel for each in found} == set(KERNELS)
    assert len(searched) == 6
    assert {(e.entry.call.dims["m"], *block_ms([e])) for e in searched} == {(64, 32), (256, 64), (1024, 128)}


def test_what_the_servers_own_kernel_is_tuned_for_waits_for_its_result() -> None:
    plan = experts(64, 256)
    theirs = [call.key for call in plan.required if call.op.endswith("_shrink")]
    assert replacements(plan, OURS, dict.fromkeys(theirs)) == []
    assert block_ms(replacements(plan, OURS, {each: {"block_m": 16} for each in theirs})) == [16] * 4


def test_what_follows_is_counted_ahead() -> None:
    plan = experts(64, 256)
    group = registry.load("fused_moe_lora_gate_up_one_shot")
    entry = plan.entries[0]
    spec = spec_on_gpu(group.name, group.problem_from_flags(entry.flags), H200, HERE, "wide")
    assert waiting(plan, OURS, [Described(entry, {"ours": spec})]) == []
    (own,) = waiting(plan, OURS, [Described(entry, {"theirs": replace(spec, source="vllm")})])
    assert own.kernel in KERNELS


def test_a_folder_of_the_servers_says_the_block_m(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(facts.CONFIG_FOLDER, str(tmp_path))
    assert block_ms(replacements(experts(64), OURS, {})) == [64, 64]
    for op, slices in ((facts.W13_SHRINK, "2"), (facts.W2_SHRINK, "1")):
        table = nested("4", slices, "64", "16", "2048", "384", {"BLOCK_SIZE_M": 128})
        (tmp_path / f"NVIDIA_H200_{op.upper()}.json").write_text(json.dumps(table))
    assert block_ms(replacements(experts(64), OURS, {})) == [128, 128]


def test_rows_that_the_plug_in_leaves_to_the_server_are_not_tuned() -> None:
    plan = experts(64)
    (theirs,) = VLLM.replaces(plan.replacements[0].call)
    found = replacements(plan, OURS, {theirs.key: {"block_m": 256}})
    assert [each.entry.kernel for each in found] == KERNELS[1:]


def test_an_export_takes_what_was_tuned_for_the_servers_present_block_m(storage: BaseStorage) -> None:
    plan = experts(64)
    (entry, *_) = plan.replacements
    (theirs,) = VLLM.replaces(entry.call)
    group = registry.load("fused_moe_lora_gate_up_one_shot")
    spec = spec_on_gpu(group.name, group.problem_from_flags(entry.flags), H200, HERE, "wide")
    served = studies.create(storage, "theirs", replace(spec, source="vllm"))
    served.finish(study_result(2.0, 1.0, config={"block_m": 32}))
    own = {}
    for block_m in (16, 32):
        (found, *_) = replacements(plan, OURS, {theirs.key: {"block_m": block_m}})
        ((name, each),) = found.specs.items()
        own[block_m] = studies.create(storage, name, each)
    assert served.call is not None and served.call.key == theirs.key
    assert [each.name for each in decided([served, *own.values()], "no plan")] == ["theirs", own[32].name]


def test_two_kernels_are_the_servers() -> None:
    for plan in (experts(64, rank=256), experts(64, fully_sharded=True)):
        assert plan.replacements == []
        with pytest.raises(InputError, match=r"comes to no study: .*--source served"):
            describe(plan, [OURS])


def test_without_a_gpu_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.plan.describing.cuda_available", lambda: False)
    assert replacements(experts(64), OURS, {}) == []
    with pytest.raises(InputError, match="comes to no study"):
        describe(experts(64), [Request(backend="replay", source="builtin")])
