"""The table of a block's layers: which study is whose, and what is saved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.contract import Call
from autotune.report.layers import COLUMNS, cells, layer_results, savings
from autotune.servers.sglang.decoder_block import CsgmvLayer
from autotune.study.result import Outcome
from autotune.study.summary import StudySummary
from tests.builders.study_results import study_result, summary

BLOCK = (CsgmvLayer("qkv", 64, (64, 32, 32)), CsgmvLayer("o", 64, (64,)), CsgmvLayer("down", 96, (64,)))


def study(
    op: str,
    k: int,
    s: int,
    chunk: int,
    before_us: float | None,
    after_us: float,
    outcome: Outcome = "tuned",
    floor_us: float | None = 5.0,
) -> StudySummary:
    call = Call("sglang", op, {"K": k, "R": 16, "S": s, "chunk_size": chunk})
    return summary(call, study_result(before_us, after_us, outcome, {"BLOCK_N": 32, "num_warps": None}, floor_us))


STUDIES = [
    study("expand", 64, 1, 16, 20, 10),
    study("shrink", 64, 3, 128, 40, 30),
    study("shrink", 64, 3, 16, 50, 20),
    study("shrink", 64, 1, 16, 9, 9, outcome="default"),
    study("expand", 128, 3, 16, None, 7, floor_us=None),
]


def test_equal_problems_are_every_layers() -> None:
    found = [(r.layer, r.op, r.chunk_size) for r in layer_results(BLOCK, STUDIES)]
    assert found == [
        ("qkv", "shrink", 16),
        ("qkv", "shrink", 128),
        ("qkv", "expand", 16),
        ("o", "shrink", 16),
        ("o", "expand", 16),
        ("down", "expand", 16),
    ]


def test_rows() -> None:
    rows = [cells(result) for result in layer_results(BLOCK, STUDIES)]
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert rows[0] == ["qkv", "shrink", "16", "50.00", "20.00", "2.50x", "25%", "BLOCK_N 32"]
    assert rows[2] == ["qkv", "expand", "16", "-", "7.00", "-", "-", "BLOCK_N 32"]
    assert rows[3][-1] == "the default"


def test_savings_count_a_shared_problem_in_each_of_its_layers() -> None:
    columns, rows = savings(layer_results(BLOCK, STUDIES))
    assert columns == ["saved a layer, us", "chunk 16", "chunk 128"]
    assert {name: [float(cell) for cell in row] for name, *row in rows} == {
        "qkv": [30, 10],
        "o": [10, 0],
        "down": [10, 0],
        "all": [50, 10],
    }


@pytest.mark.parametrize("call", [None, Call("vllm", "shrink", {})], ids=str)
def test_other_studies_are_left_out(call: Call | None) -> None:
    assert layer_results(BLOCK, [summary(call, study_result()), replace(STUDIES[0], result=None)]) == []
