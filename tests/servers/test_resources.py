"""Entries that no GPU of the file's name can run are reported, and none that one ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.config.check import check_folder
from autotune.contract import Call, gpu_names, registry
from autotune.contract.gpu import H200
from autotune.measure import recording
from autotune.model.shape import load
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from tests.builders.samples import VLLM_ENTRY

HUGE = {"block_m": 256, "block_n": 256, "block_k": 256, "num_stages": 5}


def call_of(recorded: recording.Recording) -> Call:
    """The lookup of a recorded problem, by its name."""
    d, op = recorded.sizes, recorded.kernel.partition("_")[2]
    if "R" in d:
        return Call("sglang", op, {"K": d["K"], "R": d["R"], "S": d["S"], "chunk_size": d["chunk"]})
    return Call("vllm", op, {"max_loras": d["L"] + 1, "num_slices": d["S"], "m": d["M"], "k": d["K"], "n": d["N"]})


def said(recorded: recording.Recording) -> list[tuple[str, str | None]]:
    """How each recorded config ended, and what is said of it."""
    call = call_of(recorded)
    kernel = registry.load(registry.of_server(call.op, call.server))
    return [
        (measured.status, kernel.cannot_run(call, config, H200.shared_bytes))
        for config, measured in zip(recorded.configs, recorded.measurements, strict=True)
    ]


@pytest.mark.parametrize("recorded", recording.find(), ids=lambda path: path.name)
def test_no_config_that_ran_is_reported(recorded: Path) -> None:
    assert not [why for status, why in said(recording.load(recorded)) if why and status in ("ok", "pruned")]


@pytest.mark.parametrize(
    ("name", "share"),
    [("sglangx_shrink_K1024_R64_S3_chunk16", 1), ("vllm_shrink_M16_K5120_N16_L4_S1", 0.6)],
)
def test_most_that_ran_out_of_resources_are(name: str, share: float) -> None:
    failed = [
        why for status, why in said(recording.load(*recording.find(pattern=name))) if status == "out_of_resources"
    ]
    assert len([why for why in failed if why]) >= share * len(failed) > 0


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("NVIDIA_H200", 232_448),
        ("NVIDIA_H100_80GB_HBM3", 232_448),
        ("NVIDIA GH200 480GB", 232_448),
        ("NVIDIA_A100_SXM4_80GB", 166_912),
        ("NVIDIA A100-SXM4-40GB", 166_912),
        ("NVIDIA_A10", 101_376),
        ("NVIDIA_L40S", 101_376),
        ("NVIDIA L4", 101_376),
        ("NVIDIA_GeForce_RTX_4090", 101_376),
        ("NVIDIA GeForce RTX 3060", 101_376),
        ("Tomorrows_GPU", 334_848),
    ],
)
def test_shared_memory_by_name(name: str, size: int) -> None:
    assert gpu_names.shared_bytes(name) == size


def write(name: str, content: dict[str, Any]) -> Path:
    path = Path("tuned") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return Path("tuned")


def too_large(folder: Path, server: str, plan: Plan | None = None) -> list[tuple[str, str]]:
    findings, _ = check_folder(folder, server, plan)
    return [("/".join(f.key), f.effect) for f in findings if f.defect == "too large"]


def dense(slices: str, m: str, k: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {"5": {slices: {m: {k: {"64": entry}}}}}


@pytest.mark.parametrize(("m", "effect"), [("64", "crash at start"), ("1024", "crash at request")])
@pytest.mark.parametrize("slices", ["1", "3"])
def test_a_dense_entry(slices: str, m: str, effect: str) -> None:
    folder = write("NVIDIA_H200_SHRINK.json", dense(slices, m, "4096", VLLM_ENTRY | HUGE))
    assert too_large(folder, "vllm") == [(f"5/{slices}/{m}/4096/64", effect)]
    (message,) = (f.message for f in check_folder(folder, "vllm")[0] if f.defect == "too large")
    assert "bytes of shared memory or more" in message and "232448 on NVIDIA_H200: OutOfResources" in message


@pytest.mark.parametrize("k", ["4096", "128"])
def test_what_the_server_masks_it_does_not_load_ahead(k: str) -> None:
    """With 64 splits, or a short K, there is no whole step."""
    folder = write("NVIDIA_H200_SHRINK.json", dense("1", "64", k, VLLM_ENTRY | HUGE | {"split_k": 64}))
    assert too_large(folder, "vllm") == []


@pytest.mark.parametrize(("name", "fits"), [("NVIDIA_H200", True), ("NVIDIA_A100", True), ("NVIDIA_L40S", False)])
def test_the_gpu_in_the_files_name_counts(name: str, fits: bool) -> None:
    folder = write(f"{name}_EXPAND_TRUE.json", dense("1", "64", "256", VLLM_ENTRY | HUGE))
    assert bool(too_large(folder, "vllm")) != fits


@pytest.mark.parametrize("op", ["shrink", "expand"])
@pytest.mark.parametrize(("chunk", "effect"), [("16", "crash at start"), ("128", "crash at request")])
def test_a_chunk_size(op: str, chunk: str, effect: str) -> None:
    name = f"csgmv_configs/triton_3_6_0/lora_{op},K=1024,R=64,S=1,device=NVIDIA_H200.json"
    folder = write(name, {chunk: {"BLOCK_N": 1024, "BLOCK_K": 1024, "num_stages": 6}})
    assert too_large(folder, "sglang") == [(chunk, effect)]


def test_a_tile_beyond_what_triton_has() -> None:
    folder = write("NVIDIA_H200_SHRINK.json", dense("3", "64", "4096", VLLM_ENTRY | {"block_m": 2048, "block_n": 1024}))
    (message,) = (f.message for f in check_folder(folder, "vllm")[0] if f.defect == "too large")
    assert "2097152 elements" in message


def test_more_warps_than_a_block_has() -> None:
    folder = write("NVIDIA_H200_SHRINK.json", dense("1", "64", "4096", VLLM_ENTRY | {"num_warps": 64}))
    assert [f.defect for f in check_folder(folder, "vllm")[0] if f.key[-1:] == ("num_warps",)] == ["bad value"]


@pytest.mark.parametrize(
    ("rank", "how", "dead"),
    [(64, None, True), (64, {}, True), (64, {"fully_sharded": True, "tp": 2}, False), (256, None, False)],
    ids=["rank of one kernel", "one kernel", "fully sharded", "rank of two kernels"],
)
def test_experts_only_where_two_kernels_run(rank: int, how: dict[str, Any] | None, dead: bool) -> None:
    plan = None
    shards = int((how or {}).get("tp", 1))
    if how is not None:
        sizes: dict[str, Any] = {"server": "vllm", "tp": 1, "rank": rank, "max_loras": 4}
        served = Serving(**sizes | how)
        plan = make(load("Qwen3-30B-A3B"), served, Batches(m_values=(64,)))
    entry = VLLM_ENTRY | {"block_m": 64, "block_n": 256, "block_k": 4096}
    at = ("4", "1", "64", str(rank), "2048", str(768 // shards))
    content: Any = entry
    for key in reversed(at):
        content = {key: content}
    folder = write("NVIDIA_H200_FUSED_MOE_LORA_W2_SHRINK.json", content)
    assert too_large(folder, "vllm", plan) == ([] if dead else [("/".join(at), "crash at start")])
