"""The documents' table of MoE groups: what no config can beat is told from what was measured and from the floor."""

from __future__ import annotations

import json
from pathlib import Path

from autotune.study.result import GroupResult
from results_page import moe
from tests.builders.study_results import group_result, study_result, summary


def group(**measured: int) -> GroupResult:
    """Makes the result of two ops of ten configs each."""
    members = {
        name: study_result(floor_us=floor_us, counts={"ok": 1, "pruned": measured[name] - 1})
        for name, floor_us in (("shrink", 10.0), ("expand", 20.0))
    }
    best_us = {"shrink": {"16": 15.0, "64": 30.0}, "expand": {"16": 45.0, "32": 22.0, "64": 40.0}}
    return group_result("fused_moe_lora-two-kernel-m64-NVIDIA_H100_80GB_HBM3", members, best_us)


def test_ops_measured_whole_count_with_their_best_at_a_common_value() -> None:
    # At 32 the shrink has no config that runs.
    assert moe.least_us(group(shrink=10, expand=10)) == 60.0


def test_what_was_not_measured_may_be_as_fast_as_the_floor() -> None:
    assert moe.least_us(group(shrink=9, expand=10)) == 32.0
    assert moe.least_us(group(shrink=9, expand=9)) == 30.0


def test_a_row_says_what_was_measured_and_what_is_possible() -> None:
    (row,) = moe.rows([summary(None, None, group(shrink=9, expand=10))])
    assert dict(zip(moe.COLUMNS, row, strict=True)) == {
        "group": "two-kernel-m64",
        "ops": "2",
        "configs measured": "19 of 20",
        "block_m": "16",
        "default us": "120.0",
        "tuned us": "60.0",
        "floor us": "30.0",
        "of floor": "50%",
        "speed-up": "2.00x",
        "at most": "3.75x",
        "tuning took": "12 s",
    }


def test_alignment_has_a_row_a_batch(tmp_path: Path) -> None:
    file = tmp_path / "moe-alignment.json"
    assert moe.alignment(file) == []
    timed = [{"m": m, "block_m": block_m, "us": m + block_m / 64} for m in (64, 16) for block_m in (64, 16)]
    file.write_text(json.dumps({"of": "vllm", "environment": {"gpu": "H", "torch": "2"}, "rows": timed}))
    lines = moe.alignment(file)
    assert "vLLM's own op" in lines[3] and "H (torch 2)" in lines[3]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[5:]]
    assert cells[0] == ["m", "block_m 16", "block_m 64"]
    assert cells[2:] == [["16", "16.2", "17.0"], ["64", "64.2", "65.0"]]
