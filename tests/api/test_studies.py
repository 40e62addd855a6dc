"""Studies made and found from Python, on recorded spaces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from optuna.storages import BaseStorage

from autotune import api
from autotune.errors import InputError
from autotune.servers.command_line import BlockSizes
from autotune.servers.sglang import decoder_block
from autotune.study.storage import open_storage
from tests.builders.samples import RECORDED_MODEL
from tests.builders.sglang_at_hand import machine

REPLAY = api.Request(backend="replay")
SHRINK = {"dtype": "float16", "batch_size": 16, "hidden_size": 5120, "lora_rank": 16, "num_loras": 4}


@pytest.fixture
def storage() -> BaseStorage:
    return open_storage("sqlite:///studies.db", create=True)


def plan() -> api.Plan:
    Path("config.json").write_text(json.dumps(RECORDED_MODEL))
    serving = api.Serving("vllm", tp=1, rank=16, max_loras=4, target_modules=("o_proj",))
    return api.plan("config.json", serving, api.Batches(m_values=(16,)), "float16")


def test_every_public_name_is_there() -> None:
    assert sorted(api.__all__) == api.__all__
    assert not [name for name in api.__all__ if not hasattr(api, name)]


def test_studies_of_a_problem_are_made_once(storage: BaseStorage) -> None:
    wanted = api.of_problems(api.Problems("lora_shrink", SHRINK), REPLAY)
    (name,) = wanted.create(storage)
    assert wanted.plan_name is None
    with pytest.raises(InputError, match="exists"):
        wanted.create(storage)
    assert wanted.create(storage, skip_if_exists=True) == [name]
    assert [found.name for found in api.find(storage, ["lora_*"])] == [name]
    assert api.find_one(storage, "lora_*").name == name


def test_studies_of_a_plan_keep_their_order_and_worth(storage: BaseStorage) -> None:
    wanted = api.of_plan(plan(), REPLAY)
    names = wanted.create(storage)
    assert names == list(wanted.specs)
    chosen = api.find(storage, plan_name=wanted.plan_name)
    assert [study.name for study in chosen] == names
    assert set(api.worth(chosen, wanted.plan_name)) == set(names)
    assert api.worth(chosen, None) == {}
    assert len(api.required_by(chosen, wanted.plan_name or "")) > len(names)


def test_globs_and_a_plan_contradict_each_other(storage: BaseStorage) -> None:
    with pytest.raises(InputError, match="give one of them"):
        api.find(storage, ["a*"], "plan")
    with pytest.raises(InputError, match="matches none"):
        api.find(storage, ["a*"])


def test_a_name_must_be_of_one_study(storage: BaseStorage) -> None:
    api.of_plan(plan(), REPLAY).create(storage)
    with pytest.raises(InputError, match="matches 2"):
        api.find_one(storage, "*")


@pytest.mark.parametrize(
    ("source", "flags", "workloads"),
    [
        ("served", {}, {"sglang": "mixed"}),
        ("builtin", {}, {"builtin": "prefill"}),
        ("both", {}, {"sglang": "mixed", "builtin": "prefill"}),
        ("both", {"workload": "prefill"}, {"sglang": "prefill", "builtin": "prefill"}),
        ("both", {"workload": "mixed"}, {"sglang": "mixed", "builtin": "mixed"}),
    ],
    ids=str,
)
def test_studies_of_a_block_are_of_the_batches_that_each_kernel_is_timed_on(
    source: str, flags: dict[str, str], workloads: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    block = decoder_block.find(BlockSizes(1024, (2048, 1024, 1024), intermediate=3072))
    problems = api.Problems("csgmv_shrink", {"lora_rank": 64, "dtype": "float16", "chunk_sizes": (16, 128), **flags})
    request = api.Request(backend="cuda", source=source, allow_unknown_server=True)
    with machine(monkeypatch, tmp_path / "site"):
        specs = api.of_block(block, "sglang", problems, request).specs.values()
    assert {(spec.source, spec.problem["workload"]) for spec in specs} == set(workloads.items())
    assert len(specs) == 14 * len(workloads)


@pytest.mark.parametrize("flags", [{}, {"workload": "prefill"}], ids=str)
def test_a_replay_of_a_block_is_of_prompts(flags: dict[str, str]) -> None:
    block = decoder_block.find(BlockSizes(1024, (2048, 1024, 1024), intermediate=3072))
    problems = api.Problems("csgmv_shrink", {"lora_rank": 64, "dtype": "float16", "chunk_sizes": (16,), **flags})
    specs = api.of_block(block, "sglang", problems, api.Request(backend="replay", source="both")).specs.values()
    assert {spec.problem["workload"] for spec in specs} == {"prefill"}
