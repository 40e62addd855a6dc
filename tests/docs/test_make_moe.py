"""The documents' table of MoE groups: what no config can beat is told from what was measured and from the floor."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def made(docs_module: Callable[[str], ModuleType]) -> ModuleType:
    return docs_module("make_moe")


def group(**measured: int) -> dict[str, Any]:
    """Two ops of ten configs each."""
    members = {
        name: {"floor_us": floor_us, "configs": 10, "counts": {"ok": 1, "pruned": measured[name] - 1}}
        for name, floor_us in (("shrink", 10.0), ("expand", 20.0))
    }
    return {
        "group": "fused_moe_lora-two-kernel-m64-NVIDIA_H100_80GB_HBM3",
        "outcome": "tuned",
        "shared": {"block_m": 16},
        "incumbent_us": 120.0,
        "tuned_us": 60.0,
        "best_us": {"shrink": {"16": 15.0, "64": 30.0}, "expand": {"16": 45.0, "32": 22.0, "64": 40.0}},
        "members": members,
        "seconds": {"wall": 12.3},
    }


def test_ops_measured_whole_count_with_their_best_at_a_common_value(made: ModuleType) -> None:
    # At 32 the shrink has no config that runs.
    assert made.least_us(group(shrink=10, expand=10)) == 60.0


def test_what_was_not_measured_may_be_as_fast_as_the_floor(made: ModuleType) -> None:
    assert made.least_us(group(shrink=9, expand=10)) == 32.0
    assert made.least_us(group(shrink=9, expand=9)) == 30.0


def test_a_row_says_what_was_measured_and_what_is_possible(made: ModuleType) -> None:
    (row,) = made.rows([{"group_result": group(shrink=9, expand=10)}])
    assert dict(zip(made.COLUMNS, row, strict=True)) == {
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
