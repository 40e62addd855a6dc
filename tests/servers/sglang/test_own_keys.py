"""Keys that our kernels alone read: they count in the plug-in's folder, and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune import api
from autotune.config.check import check_folder
from autotune.errors import InputError
from autotune.export.export import export
from autotune.servers.sglang.server import SGLANG
from tests.builders.csgmv_files import GPU, OTHER, TUNED, call, item, lookup, write

JOINED = {**TUNED, "SEGMENTS": 4}


def test_an_entry_names_segments_where_a_block_takes_several() -> None:
    assert SGLANG.entry(JOINED, call()) == JOINED
    assert SGLANG.entry({**TUNED, "SEGMENTS": 1}, call()) == SGLANG.entry({**TUNED, "SEGMENTS": None}, call()) == TUNED
    with pytest.raises(InputError, match="has SEGMENTS; allowed: BLOCK_N"):
        SGLANG.entry(JOINED, call("expand"))


def test_the_plug_in_reads_them_and_a_server_does_not(tmp_path: Path) -> None:
    write(tmp_path, {"16": JOINED})
    assert lookup(tmp_path).config == TUNED
    assert SGLANG.lookup(tmp_path, GPU, call(), by_plug_in=True).config == JOINED
    write(tmp_path, {"16": JOINED}, call("expand"))
    assert SGLANG.lookup(tmp_path, GPU, call("expand"), by_plug_in=True).config == TUNED


def test_an_export_of_ours_writes_them_and_finds_them_again(tmp_path: Path) -> None:
    ours = [replace(item(config, chunk), is_builtin=True) for chunk, config in ((16, JOINED), (128, OTHER))]
    report = export(ours, tmp_path)
    assert [proof.lookup.config for proof in report.proofs if proof.record.study] == [JOINED, OTHER]
    assert json.loads((tmp_path / "autotune" / SGLANG.file_name(GPU, call())).read_text())["16"] == JOINED
    again = export([replace(item({**TUNED, "SEGMENTS": 8}, 32), is_builtin=True)], tmp_path)
    assert [proof.lookup.config for proof in again.proofs if proof.record.study] == [{**TUNED, "SEGMENTS": 8}]


def test_a_lookup_of_a_folder_tells_both_kernels_apart(tmp_path: Path) -> None:
    write(tmp_path, {"16": JOINED})
    write(tmp_path / "autotune", {"16": {**OTHER, "SEGMENTS": 2}})
    assert api.look_up(tmp_path, call(), GPU).config == TUNED
    ours = api.look_up_builtin(tmp_path, call(), GPU)
    assert ours is not None
    assert ours.config == {**OTHER, "SEGMENTS": 2}


@pytest.mark.parametrize(
    ("folder", "segments", "defects"),
    [
        ("", 4, [("16/SEGMENTS", "dead key", "ignored")]),
        ("autotune", 4, []),
        ("autotune", 3, [("16/SEGMENTS", "bad value", "slower")]),
        ("autotune", "x", [("16/SEGMENTS", "bad value", "slower")]),
    ],
)
def test_a_check_refuses_them_in_a_servers_file_alone(
    tmp_path: Path, folder: str, segments: Any, defects: list[tuple[str, str, str]]
) -> None:
    write(tmp_path, {"16": TUNED})
    write(tmp_path / folder, {"16": {**TUNED, "SEGMENTS": segments}})
    found, _ = check_folder(tmp_path, "sglang")
    assert [("/".join(each.key), each.defect, each.effect) for each in found] == defects


def test_a_check_counts_the_memory_of_joined_segments_in_files_of_ours_alone(tmp_path: Path) -> None:
    large = {"BLOCK_N": 64, "BLOCK_K": 256, "num_warps": 4, "num_stages": 4, "SEGMENTS": 8}
    write(tmp_path, {"16": large})
    write(tmp_path / "autotune", {"16": large})
    found, _ = check_folder(tmp_path, "sglang")
    assert [(each.file.split("/")[0], each.defect) for each in found] == [
        ("autotune", "too large"),
        ("csgmv_configs", "dead key"),
    ]
