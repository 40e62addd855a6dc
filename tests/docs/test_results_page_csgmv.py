"""The documents' table of SGLang's kernels: what PR 20391 lists is beside the right rows, the unknown is blank."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autotune.contract import Call
from autotune.study.summary import StudySummary
from results_page import csgmv
from tests.builders.study_results import study_result, summary

BANDWIDTH = 4e12


def studies(gpu: str = "NVIDIA H200") -> list[StudySummary]:
    """Returns every problem of the model at every chunk size, all of which take 100 us, and 50 when tuned."""
    result = study_result(incumbent_us=100.0, tuned_us=50.0, config={"BLOCK_N": 64}, floor_us=25.0, wall_s=2.0)
    assert result.bandwidth_bytes_per_s == BANDWIDTH
    layers = csgmv.QWEN3_EMBEDDING_0_6B
    keys = {("shrink", layer.columns, len(layer.widths)) for layer in layers}
    keys |= {("expand", sum(layer.widths), len(layer.widths)) for layer in layers}
    return [
        summary(Call("sglang", op, {"K": k, "S": s, "chunk_size": chunk}), result, gpu=gpu)
        for op, k, s in sorted(keys)
        for chunk in (16, 32, 64, 128)
    ]


def test_every_row_has_what_is_listed_and_no_more() -> None:
    found = studies()
    assert len(found) == 28
    (columns, rows), (_, saved) = csgmv.tables(found)
    assert len(rows) == 32
    table = {tuple(row[:3]): dict(zip(columns, row, strict=True)) for row in rows}
    qkv = table["qkv", "shrink", "128"]
    assert (qkv["listed speed-up"], qkv["listed tuned us"]) == ("3.24x", "71.00")
    assert float(qkv["listed default us"]) == pytest.approx(3.24 * 71, rel=1e-3)
    assert qkv["over listed default"] == f"{3.24 * 71 / 50:.2f}x"
    for (_, _, chunk), row in table.items():
        assert row["listed speed-up"] != "-"
        assert (row["listed tuned us"] == "-") == (chunk != "128")
    assert table["gate_up", "expand", "16"]["listed speed-up"] == "1.55x"
    assert saved[-1] == ["all", *["400.0"] * 4]


def test_zeroing_is_taken_off_what_is_listed_of_expand() -> None:
    (columns, rows), _ = csgmv.tables(studies())
    row = next(dict(zip(columns, row, strict=True)) for row in rows if row[:3] == ["o", "expand", "128"])
    zeroing_us = 2 * 30720 * 1024 / BANDWIDTH * 1e6
    assert row["over listed default"] == f"{(1.09 * 150 - zeroing_us) / 50:.2f}x"


def test_what_is_listed_is_of_one_gpu_only() -> None:
    (columns, rows), _ = csgmv.tables(studies("NVIDIA H100 80GB HBM3"))
    assert len(rows) == 32
    assert not any("listed" in column for column in columns)


def test_means_of_prompts_and_decode_batches_are_told_and_beside_nothing_that_is_listed() -> None:
    about = {"workload": "mixed", "decode_requests": [8, 64], "num_loras": 8}
    mixed = [replace(each, spec=replace(each.spec, problem=about)) for each in studies()]
    assert csgmv.listed(studies())
    assert not csgmv.listed(mixed)
    assert csgmv._of_batches(studies()) == ""
    assert "decode batches (8, 64 requests" in csgmv._of_batches(mixed)


def test_wall_time_is_told_beside_the_time_in_studies() -> None:
    text = csgmv.took({"wall_s": 61.0, "note": "on a Sunday"}, studies())
    assert text.startswith("The 28 studies took 61 s")
    assert text.endswith("(56 s in the studies; on a Sunday).")


@pytest.mark.parametrize(
    ("op", "config", "told"),
    [
        ("shrink", {"BLOCK_N": 64}, " Timed before the shrink had SEGMENTS."),
        ("shrink", {"BLOCK_N": 64, "SEGMENTS": 1}, ""),
        ("expand", {"BLOCK_N": 64}, ""),
    ],
)
def test_times_from_before_a_parameter_are_told(op: str, config: dict[str, int], told: str) -> None:
    call = Call("sglang", op, {"K": 1024, "S": 3, "chunk_size": 16})
    assert csgmv._before_own_keys([summary(call, study_result(config=config))]) == told


def test_a_race_on_decode_batches_is_summed_up_by_itself() -> None:
    def row(problem: str, gain: float) -> dict[str, Any]:
        return {"problem": problem, "gain": gain, "p_slower": 0.0, "default": {}, "exported": {"BLOCK_N": 64}}

    prompts, decode = row("t30720-chunk16-prefill-float16", 0.5), row("t1-chunk16-decode-float16", -0.5)
    first, second, brought = csgmv.races({"never_slower": [prompts, decode], "tuned_beside_brought": [prompts]})
    assert "0 of 1 slower" in first
    assert second.startswith("On decode batches: ")
    assert "1 of 1 slower" in second
    assert brought == csgmv.AGAINST["tuned_beside_brought"] + first


def test_a_plain_expand_is_put_beside_the_tuned_one_of_its_layer() -> None:
    plain = {"rows": [{"layer": "o", "chunk_size": 64, "us": 40.0}, {"layer": "o", "chunk_size": 512, "us": 1.0}]}
    _, rows = csgmv.beside_plain(studies(), plain)
    assert rows == [["o", "64", "40.00", "50.00", "1.25"]]
