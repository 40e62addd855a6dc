"""The section on the server's own engine."""

from __future__ import annotations

from typing import Any

from results_page import engine


def cell(variant: str, medians_ms: tuple[float, ...], above_off_ms: float) -> dict[str, Any]:
    middle = sorted(medians_ms)[len(medians_ms) // 2]
    return {
        "variant": variant,
        "phase": "decode 16",
        "medians_ms": list(medians_ms),
        "ms": middle,
        "above_off_ms": above_off_ms,
        "lora_kernels_ms": 1.5,
        "launches": 576,
        "profiled_steps": 2,
    }


RUN: dict[str, Any] = {
    "gpu": "NVIDIA H200",
    "versions": {"vllm": "0.23.0", "torch": "2.11.0"},
    "note": "A model.",
    "variants": {"A": "no folder", "N": "LoRA off"},
    "cells": [cell("A", (8.1, 8.2, 8.3), 2.9), cell("N", (5.3,), 0.0)],
    "processes": [{"variant": variant} for variant in ("A", "B", "B", "A")],
}


def test_a_row_says_what_a_variant_takes_above_lora_off() -> None:
    columns, rows = engine.times(RUN)
    assert columns == ["variant", "decode 16, ms"]
    assert rows == [["A: no folder", "8.20 (8.10 to 8.30), 2.90 above N"], ["N: LoRA off", "5.30, 0.00 above N"]]


def test_a_variant_that_did_not_run_has_no_row() -> None:
    cut_short = {**RUN, "variants": {"A": "no folder", "D": "the plug-in", "N": "LoRA off"}}
    assert engine.times(cut_short) == engine.times(RUN)
    assert engine.kernels(cut_short) == engine.kernels(RUN)


def test_kernels_are_those_of_a_profile() -> None:
    assert engine.kernels(RUN) == (["variant", "decode 16"], [["A", "0.75 in 288"], ["N", "0.75 in 288"]])


def test_the_machine_and_the_rounds_are_named() -> None:
    assert engine.about(RUN) == "A model. NVIDIA H200, vllm 0.23.0, torch 2.11.0; 2 processes of each variant."
    one = {**RUN, "processes": RUN["processes"][:2]}
    assert engine.about(one).endswith("; one process of each variant.")
    uneven = {**RUN, "processes": RUN["processes"][:3]}
    assert engine.about(uneven).endswith("; processes: 1 of A, 2 of B.")
