"""Entries that cost a shrink SGLang's split-K path are told (contracts B3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.contract import Call
from autotune.export.export import export
from autotune.export.file import ExportItem
from autotune.servers.sglang import facts, split_k
from autotune.servers.sglang.server import SGLANG
from tests.builders.csgmv_files import GPU, OTHER, TUNED


@pytest.mark.parametrize(
    ("op", "K", "R", "chunk_size", "config", "loses"),
    [
        ("shrink", 4096, 32, 16, OTHER, True),
        ("shrink", 12288, 32, 16, {"BLOCK_N": 16, "BLOCK_K": 128}, True),
        ("shrink", 4096, 32, 16, {"BLOCK_N": 16, "BLOCK_K": 256, "num_warps": 8}, False),
        ("shrink", 4096, 32, 32, OTHER, False),
        ("shrink", 4096, 64, 16, OTHER, False),
        ("shrink", 2048, 32, 16, OTHER, False),
        ("expand", 4096, 32, 16, OTHER, False),
    ],
)
def test_other_blocks_cost_the_split_k_path(
    op: str, K: int, R: int, chunk_size: int, config: dict[str, int], loses: bool
) -> None:
    """Contracts B3: rank 32, K 4096 or 12288, tiles of 16 x 16 x 256."""
    wanted = Call("sglang", op, {"K": K, "R": R, "S": 1, "chunk_size": chunk_size})
    assert split_k.loses_split_k(wanted, config) == loses


@pytest.mark.parametrize(("tuned", "warned"), [(16, True), (128, False)])
def test_an_export_says_where_split_k_is_lost(tmp_path: Path, tuned: int, warned: bool) -> None:
    wanted = Call("sglang", "shrink", {"K": 4096, "R": 32, "S": 3, "chunk_size": tuned}, "3.6.0")
    report = export([ExportItem("study", wanted, TUNED, False, GPU, {"backend": "replay"})], tmp_path)
    lines = [line for line in report.warnings if "SGLANG_ENABLE_LORA_CSGMV_SPLIT_K" in line]
    assert lines == ([f"{SGLANG.file_name(GPU, wanted)}: at 16: {split_k.LOSES_SPLIT_K}"] if warned else [])


def test_a_file_written_beside_another_is_not_the_servers_but_is_warned_of(tmp_path: Path) -> None:
    wanted = Call("sglang", "shrink", {"K": 4096, "R": 32, "S": 3, "chunk_size": 16}, "3.6.0")
    items = [ExportItem("study", wanted, TUNED, False, GPU, {"backend": "replay"})]
    files = [export(items, tmp_path, "new").files[0].name for _ in range(2)]
    assert [bool(facts.FILE.fullmatch(file)) for file in files] == [True, False]
    assert split_k.split_k_entry({"16": TUNED}, files[1]) == "16"
