"""What `config check` says of a folder that the plug-in alone reads: no file there stops a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from autotune.config.check import check_folder
from autotune.model.shape import load
from autotune.plan.plan import Plan, make
from autotune.servers import places, provenance, stand_back
from autotune.servers.batches import Batches
from autotune.servers.finding import CRASHES, Finding
from autotune.servers.plugin.configs import TunedConfigs, Tuner
from autotune.servers.serving import Serving
from autotune.servers.vllm import facts
from autotune.servers.vllm.plugin.lookups import FolderLookup
from tests.builders import exports
from tests.builders.malformed import json_files
from tests.builders.samples import VLLM_ENTRY
from tests.builders.tables import nested

SOUND = nested("5", "1", "64", "4096", "16", VLLM_ENTRY)
MOE = "NVIDIA_H200_FUSED_MOE_LORA_W13_SHRINK.json"
CSGMV = "csgmv_configs/triton_3_9_0/lora_shrink,K=1024,R=64,S=1,device=NVIDIA_H200.json"
CSGMV_ENTRY = {"BLOCK_N": 32, "BLOCK_K": 64, "num_warps": 4, "num_stages": 2}


def write(folder: Path, file: str, content: Any) -> None:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def found(folder: Path, server: str = "vllm", plan: Plan | None = None) -> list[Finding]:
    return check_folder(folder, server, plan)[0]


def without(name: str) -> Any:
    entry = {key: value for key, value in VLLM_ENTRY.items() if key != name}
    return nested("5", "1", "64", "4096", "16", entry)


def with_value(name: str, value: Any) -> Any:
    return nested("5", "1", "64", "4096", "16", {**VLLM_ENTRY, name: value})


@pytest.mark.parametrize(
    "content",
    [b"{", [], SOUND, without("block_m"), with_value("block_m", 17), with_value("num_warps", None), {"5": {"1": {}}}],
    ids=str,
)
def test_what_stops_a_server_is_a_default_of_the_plug_in(tmp_path: Path, content: Any) -> None:
    write(tmp_path / "served", exports.SHRINK, content)
    assert any(finding.effect in CRASHES for finding in found(tmp_path / "served"))
    write(tmp_path / "served/autotune", exports.SHRINK, content)
    told = [each for each in found(tmp_path / "served") if each.file.startswith("autotune/")]
    assert told
    for finding in told:
        assert finding.effect not in (*CRASHES, "latency while serving", "silent corruption")
        assert "server" not in finding.message
        if finding.effect == "slower" and finding.defect != "unordered keys":
            assert (
                "the plug-in, which alone reads this folder, warns of it and runs its default there" in finding.message
            )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(json_files(SOUND), st.integers(1, 8192), st.sampled_from((1, 2, 3)))
def test_the_plug_in_survives_whatever_stands_there(tmp_path: Path, content: bytes, m: int, slices: int) -> None:
    write(tmp_path / "autotune", exports.SHRINK, content)
    folder = tmp_path / "autotune"
    look_up = FolderLookup(folder, exports.GPU)
    configs = TunedConfigs(folder, look_up, Tuner(exports.GPU, ""), facts.DENSE_REQUIRED["shrink"])
    config = configs.find(exports.at("5", str(slices), str(m), "4096", "16"))
    assert config is None or all(config[name] for name in facts.DENSE_REQUIRED["shrink"])
    assert not {finding.effect for finding in found(tmp_path)} & {*CRASHES, "silent corruption"}


def test_a_plans_lookups_fail_into_a_default_there(tmp_path: Path) -> None:
    write(tmp_path / "autotune", exports.SHRINK, SOUND)
    write(tmp_path, exports.SHRINK, SOUND)
    serving = Serving(server="vllm", tp=1, rank=16, max_loras=4)
    told = found(tmp_path, plan=make(load("Qwen3-8B"), serving, Batches(m_values=(64,))))
    fails = {each.file: each.effect for each in told if each.defect == "lookup fails"}
    assert fails == {exports.SHRINK: "crash at start", f"autotune/{exports.SHRINK}": "slower"}


def test_files_of_experts_are_unread_there(tmp_path: Path) -> None:
    write(tmp_path / "autotune", exports.SHRINK, SOUND)
    write(tmp_path / "autotune", MOE, {"4": {"3": {}}})
    serving = Serving(server="vllm", tp=1, rank=16, max_loras=4)
    plan = make(load("Qwen3-30B-A3B"), serving, Batches(m_values=(64,)))
    for made in (None, plan):
        told = [each for each in found(tmp_path, plan=made) if each.file == f"autotune/{MOE}"]
        assert [(each.defect, each.effect) for each in told] == [("unread file", "ignored")]
        assert "the server's own files" in told[0].message
    assert not [each for each in found(tmp_path, plan=plan) if each.defect == "no file" and "expert" in each.message]


@pytest.mark.parametrize(
    ("server", "file", "sound", "zeros"),
    [
        (
            "vllm",
            exports.SHRINK,
            nested("5", {str(n): {"64": {"4096": {"16": VLLM_ENTRY}}} for n in (1, 2, 3)}),
            nested("5", {str(n): {"64": {"4096": {"16": stand_back.entry(VLLM_ENTRY)}}} for n in (1, 2, 3)}),
        ),
        ("sglang", CSGMV, {"16": CSGMV_ENTRY}, {"16": CSGMV_ENTRY, "32": stand_back.entry(CSGMV_ENTRY)}),
    ],
)
def test_zeros_there_are_no_defect_with_or_without_a_side_car(
    tmp_path: Path, server: str, file: str, sound: Any, zeros: Any
) -> None:
    write(tmp_path, file, sound)
    write(tmp_path / "autotune", file, zeros)
    assert found(tmp_path, server) == []
    write(tmp_path, file, zeros)
    assert "bad value" in {finding.defect for finding in found(tmp_path, server)}


def test_configs_that_the_plug_in_compiles_ahead_keep_no_request_waiting(tmp_path: Path) -> None:
    ms = {str(m): {"4096": {"16": {**VLLM_ENTRY, "block_k": 16 << m % 4, "num_stages": 1 + m // 4}}} for m in range(40)}
    content = {"5": {str(slices): ms for slices in (1, 2, 3)}}
    write(tmp_path, exports.SHRINK, content)
    write(tmp_path / "autotune", exports.SHRINK, content)
    assert [each.file for each in found(tmp_path) if each.defect == "many configs"] == [exports.SHRINK]


@pytest.mark.parametrize("folder", [".", places.BUILTIN_FOLDER])
def test_a_side_car_that_cannot_be_read_is_told_wherever_it_is(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / "NVIDIA_H200_SHRINK.json").write_text("{}")
    (place / provenance.FILE_NAME).write_text("{")
    (found,) = (each for each in check_folder(tmp_path, "vllm")[0] if each.defect == "side-car")
    assert found.file == (Path(folder) / provenance.FILE_NAME).as_posix()
    assert "repair or move it" in found.message
