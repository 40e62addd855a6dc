"""Columns of a table of studies, from their sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autotune.contract import Call
from autotune.report.dimensions import columns_of
from autotune.study.spec import StudySpec
from tests.builders.double_study import SPEC


def spec(chunk_size: int, **problem: Any) -> StudySpec:
    call = Call("sglang", "shrink", {"K": 64, "R": 16, "S": 1, "chunk_size": chunk_size})
    return replace(SPEC, kernel="csgmv_shrink", call=call, problem={"dtype": "float16", **problem})


PROMPTS = {"num_loras": 1, "workload": "prefill"}
TOGETHER = {"num_loras": 8, "workload": "mixed"}


def test_studies_of_different_lookups_are_told_by_these_alone() -> None:
    names, rows = columns_of([spec(16, **PROMPTS), spec(128, **TOGETHER)])
    assert (names, rows) == (["kernel", "chunk"], [["csgmv_shrink", "16"], ["csgmv_shrink", "128"]])


def test_what_tells_studies_of_one_lookup_apart_is_a_column() -> None:
    names, rows = columns_of([spec(16, **PROMPTS), spec(128, **PROMPTS), spec(16, **TOGETHER)])
    assert names == ["kernel", "chunk", "workload"]
    assert [row[1:] for row in rows] == [["16", "prefill"], ["128", "prefill"], ["16", "mixed"]]


def test_a_number_tells_apart_where_no_word_does() -> None:
    names, rows = columns_of([spec(16, **PROMPTS), spec(16, **{**PROMPTS, "num_loras": 8})])
    assert (names, rows) == (["kernel", "num_loras"], [["csgmv_shrink", "1"], ["csgmv_shrink", "8"]])


def test_lists_are_told_as_names_have_them() -> None:
    names, rows = columns_of([spec(16, **TOGETHER, decode_requests=requests) for requests in ([8, 64], [4])])
    assert (names, [row[1] for row in rows]) == (["kernel", "decode_requests"], ["8x64", "4"])


def test_equal_problems_stay_equal_rows() -> None:
    """As of another tag."""
    names, rows = columns_of([spec(16, **PROMPTS)] * 2)
    assert (names, rows) == (["kernel"], [["csgmv_shrink"]] * 2)
