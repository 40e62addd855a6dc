"""The documents' tables of whole models: every study in its shape's column, every layer as often as there is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autotune.contract import Call
from autotune.study.summary import StudySummary
from results_page import plan
from tests.builders.study_results import study_result, summary

SHRINK = {"op": "shrink", "max_loras": 5, "num_slices": 3, "k": 64, "n": 16, "layers": ["qkv_proj x2"]}
EXPAND = {"op": "expand", "max_loras": 5, "num_slices": 1, "k": 16, "n": 64, "layers": ["o_proj x2", "embed_tokens"]}


def study(shape: dict[str, Any], m: int, default_us: float | None, tuned_us: float) -> StudySummary:
    dims = {name: value for name, value in shape.items() if name not in ("op", "layers")}
    return summary(Call("vllm", shape["op"], {**dims, "m": m}), study_result(default_us, tuned_us))


PLAN = {"size": "m", "shapes": [SHRINK, EXPAND], "serving": {"runtime": "vllm"}}


def test_a_row_a_batch_size_and_a_column_a_shape() -> None:
    found = [study(EXPAND, 8, 200.0, 100.0), study(SHRINK, 8, 10.0, 5.0), study(SHRINK, 1, 10.0, 10.0)]
    columns, rows = plan.before_after(PLAN, found)
    assert columns == ["m", "shrink: qkv_proj", "expand: o_proj, embed_tokens", "all layers, us"]
    # Two layers shrink, three expand; what is not whole has no sum.
    assert rows == [["1", "10.0 → 10.0", "-", "-"], ["8", "10.0 → 5.0", "200 → 100", "620 → 310 (2.00x)"]]


def test_a_head_may_have_fewer_rows_than_a_batch() -> None:
    head = {**EXPAND, "n": 32, "layers": ["lm_head"]}
    _, rows = plan.before_after({**PLAN, "shapes": [SHRINK, head]}, [study(SHRINK, 8, 10.0, 5.0)])
    assert rows == [["8", "10.0 → 5.0", "-", "20 → 10 (2.00x)"]]


def test_a_default_that_does_not_run_has_no_sum() -> None:
    _, rows = plan.before_after(PLAN, [study(SHRINK, 8, None, 5.0)])
    assert rows == [["8", "fails → 5.0", "-", "-"]]


def test_what_is_tuned_stands_beside_the_least_that_its_bytes_take() -> None:
    found = [study(SHRINK, 8, 10.0, 5.0), study(EXPAND, 8, None, 100.0)]
    floor_us = found[0].result.floor_us if found[0].result else None
    assert floor_us is not None
    columns, rows = plan.tuned_and_floor(PLAN, found)
    assert columns == plan.before_after(PLAN, found)[0]
    assert rows == [["8", f"5.0 ({floor_us:.1f})", f"100 ({floor_us:.1f})", f"310 ({5 * floor_us:.1f})"]]


def test_the_summary_counts_what_was_finished() -> None:
    unfinished = replace(study(SHRINK, 2, 1.0, 1.0), result=None)
    run = {"wall_s": 90.0, "check": 0, "plan": PLAN}
    assert plan.summary(run, [study(SHRINK, 8, 10.0, 5.0), unfinished]) == ["vllm", "1 of 2", "7", "1.5", "none"]
