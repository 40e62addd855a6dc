"""An export passes on nothing of anybody's that no kernel compiles with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.contract import Call
from autotune.errors import InputError
from autotune.export.export import check_merge, export
from autotune.export.file import ExportItem
from autotune.servers.sglang import facts as sglang_facts
from autotune.servers.sglang.server import SGLANG
from tests.builders.exports import GPU, SHRINK, at, entry, item, put, snapshot, table

OTHER = ("9", "1", "64", "4096", "16")
OF_OURS = {"source": "builtin"}
BAD = [float("nan"), float("inf"), -16, 0, "16", 16.5, True, [16]]


@pytest.mark.parametrize("name", ["block_n", "num_warps", "split_k"])
@pytest.mark.parametrize("value", BAD, ids=str)
def test_an_entry_with_a_value_that_no_kernel_compiles_with_stops_the_merge(
    tmp_path: Path, name: str, value: Any
) -> None:
    put(tmp_path, {OTHER: {**entry(), name: value}})
    before = snapshot(tmp_path)
    for attempt in (lambda: export([item()], tmp_path), lambda: check_merge([(item().call, GPU, 1)], tmp_path)):
        with pytest.raises(InputError, match=f"{SHRINK}: at 9/1/64/4096/16.*--on-exist overwrite") as refused:
            attempt()
        assert "\n" not in str(refused.value)
    assert snapshot(tmp_path) == before


def test_calls_that_are_left_to_the_server_at_several_m_are_no_bad_values(tmp_path: Path) -> None:
    """The check of a folder tells a defect of several m once, at a key with a star."""
    left = [
        replace(item(at("5", "1", m, "4096", "16"), study=m), stands_back=True, is_builtin=True, provenance=OF_OURS)
        for m in ("16", "64", "256")
    ]
    export(left, tmp_path)
    folder = tmp_path / "autotune"
    assert [m for _, _, m, *_ in table(folder)] == ["16", "64", "256"] * 2
    before = snapshot(folder)
    export(left, tmp_path)
    assert snapshot(folder) == before


def test_what_is_no_number_stops_the_merge_even_where_no_kernel_reads_it(tmp_path: Path) -> None:
    put(tmp_path, {OTHER: {**entry(), "note": float("-inf")}})
    with pytest.raises(InputError, match=r"9/1/64/4096/16/note: got -inf"):
        export([item()], tmp_path)


def test_an_overwriting_export_asks_nothing_of_the_old_file(tmp_path: Path) -> None:
    put(tmp_path, {OTHER: {**entry(), "block_n": -1}})
    export([item()], tmp_path, "overwrite")
    assert OTHER not in table(tmp_path)


def test_a_bad_file_beside_is_not_the_exports_business(tmp_path: Path) -> None:
    put(tmp_path, {OTHER: {**entry(), "block_n": -1}}, "NVIDIA_A100_SHRINK.json")
    export([item()], tmp_path)


def test_a_chunk_size_of_sglang_with_a_bad_value_stops_the_merge(tmp_path: Path) -> None:
    call = Call("sglang", "shrink", {"K": 1024, "R": 64, "S": 3, "chunk_size": 16}, "3.6.0")
    made = ExportItem("s", call, dict(SGLANG.default_config(call)), False, GPU, {})
    (file, *_) = export([made], tmp_path).files
    content = json.loads(file.read_text())
    content["64"] = {**sglang_facts.DEFAULTS["shrink"], "BLOCK_N": float("nan")}
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"at 64/BLOCK_N: got nan"):
        export([made], tmp_path)
