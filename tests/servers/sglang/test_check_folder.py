"""Each defect of contracts B1 and B2, put into a sound folder on its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.config.check import check_folder
from autotune.model.shape import load
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving

OLD, NEW = "csgmv_configs/triton_3_9_0", "csgmv_configs/triton_3_10_0"
SHRINK, EXPAND = (f"lora_{op},K=1024,R=64,S=1,device=NVIDIA_H200.json" for op in ("shrink", "expand"))
CONFIG = {"BLOCK_N": 32, "BLOCK_K": 64, "num_warps": 4, "num_stages": 2}
DEFAULT = {"BLOCK_N": 16, "BLOCK_K": 256}


def written(files: dict[str, Any]) -> Path:
    folder = Path("tuned")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def found(
    files: dict[str, Any], plan: Plan | None = None, max_chunk: int | None = None
) -> list[tuple[str, str, str, str]]:
    findings, _ = check_folder(written(files), "sglang", plan, max_chunk)
    return [(f.file, "/".join(f.key), f.defect, f.effect) for f in findings]


def test_a_sound_folder_is_clean() -> None:
    chunks = {"16": CONFIG, "32": CONFIG, "64": CONFIG, "128": CONFIG}
    assert found({f"{NEW}/{SHRINK}": chunks, f"{NEW}/{EXPAND}": {"16": CONFIG | {"maxnreg": 96}}}) == []


@pytest.mark.parametrize(
    ("name", "content", "key", "defect", "effect"),
    [
        (SHRINK, "{", "", "no JSON", "crash at start"),
        (SHRINK, [], "", "no object", "crash at start"),
        (SHRINK, {}, "", "no object", "crash at start"),
        (SHRINK, {"16": CONFIG, "_meta": {}}, "_meta", "no integer", "crash at start"),
        (SHRINK, {"16": 3}, "16", "no object", "crash at start"),
        (SHRINK, {"16": {"BLOCK_N": 16}}, "16", "missing key", "crash at start"),
        (SHRINK, {"16": CONFIG, "128": {"BLOCK_K": 16}}, "128", "missing key", "crash at request"),
        (SHRINK, {"16": CONFIG | {"maxnreg": 96}}, "16/maxnreg", "dead key", "ignored"),
        (EXPAND, {"16": CONFIG | {"BLOCK_M": 16}}, "16/BLOCK_M", "dead key", "ignored"),
        (EXPAND, {"16": CONFIG | {"BLOCK_N": 24}}, "16/BLOCK_N", "bad value", "crash at start"),
        (EXPAND, {"16": CONFIG | {"num_warps": 6}}, "16/num_warps", "bad value", "crash at start"),
        (EXPAND, {"32": CONFIG, "16": CONFIG}, "", "unordered keys", "slower"),
        (EXPAND, {"16": CONFIG, "48": CONFIG}, "48", "unreachable chunk size", "ignored"),
        (SHRINK.replace("H200", "H100"), {"16": CONFIG}, "", "generic GPU name", "ignored"),
        ("lora_shrink,K=1,R=64,device=NVIDIA_H200.json", {}, "", "file name", "ignored"),
        ("lora_shrink,K=1,R=64,S=1,device=NVIDIA H200.json", {}, "", "file name", "ignored"),
        (SHRINK.replace(".json", "_tuned_1.json"), {"16": CONFIG}, "", "file name", "ignored"),
    ],
)
def test_a_defect_of_a_file(name: str, content: Any, key: str, defect: str, effect: str) -> None:
    assert found({f"{NEW}/{name}": content}) == [(f"{NEW}/{name}", key, defect, effect)]


def test_lower_case_blocks_are_not_read() -> None:
    defects = {defect for _, _, defect, _ in found({f"{NEW}/{SHRINK}": {"16": {"block_n": 16, "block_k": 32}}})}
    assert defects == {"missing key", "dead key"}


def test_null_for_a_block_is_called_null() -> None:
    [finding], _ = check_folder(written({f"{NEW}/{SHRINK}": {"16": {"BLOCK_N": None, "BLOCK_K": 64}}}), "sglang")
    assert (finding.defect, finding.message) == ("missing key", "lacks BLOCK_N: null is no size; add it")


@pytest.mark.parametrize(("max_chunk", "unreachable"), [(None, []), (16, ["32", "64"]), (64, []), (128, ["64"])])
def test_chunk_sizes_that_the_servers_flag_rules_out(max_chunk: int | None, unreachable: list[str]) -> None:
    chunks = {"16": CONFIG, "32": CONFIG, "64": CONFIG, "128": DEFAULT if max_chunk in (16, 64) else CONFIG}
    files = found({f"{NEW}/{SHRINK}": chunks}, max_chunk=max_chunk)
    assert [key for _, key, _, _ in files] == unreachable, "an entry that is but the default is no mistake"


def test_versions_are_compared_as_text() -> None:
    files = found({f"{OLD}/{SHRINK}": {"16": CONFIG}, f"{NEW}/{SHRINK}": {"16": CONFIG}})
    assert files == [(f"{OLD}/{SHRINK}", "", "version order", "slower")]


@pytest.mark.parametrize(
    ("name", "place", "effect"),
    [
        (f"csgmv_configs/triton_3.6.0/{SHRINK}", "csgmv_configs/triton_3.6.0", "slower"),
        (f"csgmv_configs/{SHRINK}", f"csgmv_configs/{SHRINK}", "ignored"),
        (f"{SHRINK}", SHRINK, "ignored"),
        (f"triton_3_6_0/{SHRINK}", ".", "ignored"),
    ],
)
def test_folders_that_no_server_looks_into(name: str, place: str, effect: str) -> None:
    files = found({name: {"16": CONFIG}})
    assert (place, effect) in {(file, effect) for file, _, _, effect in files}


def test_what_a_models_lookups_come_to() -> None:
    served = Serving("sglang", 1, 64, 1, target_modules=("o_proj",))
    plan = make(load("Qwen3-Embedding-0.6B"), served, Batches(max_lora_chunk_size=128))
    shrink = f"{NEW}/lora_shrink,K=2048,R=64,S=1,device=NVIDIA_H200.json"
    chunks = {"16": CONFIG, "32": CONFIG, "128": CONFIG}
    assert found({shrink: chunks, f"{NEW}/{EXPAND}": chunks}, plan) == []
    files = found({shrink: {"16": CONFIG}, f"{NEW}/{EXPAND}": {"16": {"BLOCK_N": 16}}}, plan)
    assert (shrink, "K=2048/R=64/S=1", "another chunk size", "slower") in files
    assert (f"{NEW}/{EXPAND}", "K=1024/R=64/S=1", "lookup fails", "crash at start") in files
    again = found({shrink.replace(".json", "_tuned_1.json"): {}}, plan)
    assert len(again) == len(files) + 1, "a file that no server reads is no other server's"


@pytest.mark.parametrize(
    ("chunks", "key"),
    [({"16": CONFIG}, "16"), ({"32": CONFIG}, "32"), ({"16": DEFAULT, "32": CONFIG}, None), ({"16": {}}, None)],
)
def test_blocks_that_cost_the_split_k_path(chunks: dict[str, Any], key: str | None) -> None:
    name = f"{NEW}/lora_shrink,K=4096,R=32,S=1,device=NVIDIA_H200.json"
    lost = [finding for finding in found({name: chunks}) if finding[2] == "no split-K"]
    assert lost == ([(name, key, "no split-K", "slower")] if key else [])


@pytest.mark.parametrize("name", ["copy [1].json", "[!a].json", "**.json"])
def test_a_name_that_would_be_a_pattern_is_a_name(name: str) -> None:
    assert found({f"{NEW}/{name}": {"16": CONFIG}}) == [(f"{NEW}/{name}", "", "file name", "ignored")]
    files = found({f"{NEW}/lora_shrink,K=1,R=1,S=1,device=GPU_[1].json": {"16": CONFIG}})
    assert [file for file, _, _, _ in files] == [f"{NEW}/{name}"]


def test_a_link_to_nothing_is_no_file() -> None:
    folder = Path("tuned") / NEW
    folder.mkdir(parents=True)
    (folder / SHRINK).symlink_to("nowhere")
    assert found({}) == [(f"{NEW}/{SHRINK}", "", "file name", "ignored")]
