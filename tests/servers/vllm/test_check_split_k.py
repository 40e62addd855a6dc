"""Shrinks that are split too often."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.config.check import check_folder
from autotune.servers.vllm.check_levels import Walk
from autotune.servers.vllm.check_split_k import MOST_THREAD_BLOCKS, ShrinkSize, check
from autotune.servers.vllm.facts import DENSE_LEVELS
from tests.builders.samples import VLLM_ENTRY
from tests.builders.tables import nested

KEY = ("5", "1", "64", "4096", "32")
TILES = {"block_m": 16, "block_n": 16, "block_k": 32}


def found(split_k: int, depth: int = 4096) -> list[tuple[str, str]]:
    made = Walk("file.json", DENSE_LEVELS)
    check(made, KEY, {**TILES, "split_k": split_k}, ShrinkSize(m=64, n=32, depth=depth))
    return [(each.defect, each.effect) for each in made.findings]


def test_a_grid_has_a_largest_size() -> None:
    fits = MOST_THREAD_BLOCKS // 8
    assert found(fits) == [("idle thread blocks", "slower")]
    ((defect, effect),) = found(fits + 1)
    assert (defect, effect.startswith("crash")) == ("too many thread blocks", True)


def test_splits_that_find_no_work() -> None:
    assert found(128) == [], "as many as steps of block_k"
    assert found(129) == [("idle thread blocks", "slower")]
    assert found(64, depth=64) == [], "the server's own default has as many"


@pytest.mark.parametrize("op", ["SHRINK", "FUSED_MOE_LORA_W13_SHRINK", "FUSED_MOE_LORA_W2_SHRINK"])
@pytest.mark.parametrize(("split_k", "defect"), [(10**8, "idle thread blocks"), (2**31, "too many thread blocks")])
def test_files_are_checked(op: str, split_k: int, defect: str) -> None:
    sizes = ("4096", "16") if op == "SHRINK" else ("256", "2048", "768")
    folder = Path("files")
    folder.mkdir()
    table = nested("5", "1", "16", *sizes, {**VLLM_ENTRY, "split_k": split_k})
    (folder / f"NVIDIA_H200_{op}.json").write_text(json.dumps(table))
    told = {(each.defect, each.key[-1]) for each in check_folder(folder, "vllm")[0] if each.key}
    assert (defect, "split_k") in told
