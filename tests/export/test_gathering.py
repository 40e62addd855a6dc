"""Results and required lookups find their files, or are refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.contract import Call
from autotune.errors import InputError
from autotune.export.export import export
from autotune.export.file import ExportItem
from autotune.servers.vllm.server import VLLM
from tests.builders.exports import EXPAND, GPU, KEY, SHRINK, at, entry, expand, item, table


def test_what_a_plan_requires_is_answered_by_the_default(tmp_path: Path) -> None:
    overwriting = Call("vllm", "expand", {**expand().dims, "add_inputs": 0})
    required = [item().call, at("5", "3", "64", "4096", "16"), at("5", "1", "8", "12288", "16"), overwriting]
    export([item()], tmp_path, required=required)
    for call in required[1:]:
        assert VLLM.lookup(tmp_path, GPU, call).config == VLLM.default_config(call)
        assert VLLM.lookup(tmp_path, GPU, call).exact
    assert VLLM.lookup(tmp_path, GPU, item().call).config == entry()
    assert {("5", "1", m, k, "16") for m in ("8", "64") for k in ("4096", "12288")} <= set(table(tmp_path))
    assert not (tmp_path / EXPAND).exists()


def test_refuses_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished study"):
        export([], tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_refuses_two_results_for_one_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{SHRINK}: at 5/1/64/4096/16: .*'bf16' and 'fp16'"):
        export([item(block_m=16, study="bf16"), item(block_m=32, study="fp16")], tmp_path / "a")
    assert not (tmp_path / "a").exists()
    export([item(study="bf16"), item(study="fp16")], tmp_path)


def test_files_of_gpus_are_apart(tmp_path: Path) -> None:
    other = ExportItem("s", at(), item(block_m=16).config, False, "NVIDIA H20-3e", {})
    export([item(), other], tmp_path)
    assert table(tmp_path)[KEY] == entry(128)
    assert table(tmp_path, "NVIDIA_H20_3e_SHRINK.json")[KEY] == entry(16)
