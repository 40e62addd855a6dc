"""The sentences on files tuned on a server's own kernels."""

from __future__ import annotations

from typing import Any

import pytest

from results_page import served


def entry(gain: float, p_slower: float, config: int = 1) -> dict[str, Any]:
    return {"default": {"block_m": 0}, "exported": {"block_m": config}, "gain": gain, "p_slower": p_slower}


def test_a_loss_counts_if_it_is_large_and_significant_after_the_correction() -> None:
    clear, small, chance = entry(-0.1, 1e-6), entry(-0.005, 1e-6), entry(-0.1, 0.008)
    text = served.against_no_folder([clear, small, chance, entry(0.5, 1.0), entry(0.0, 1.0, config=0)])
    assert "1 of 5 slower" in text
    assert "1 the same as the default" in text
    assert "most 2.00x" in text


def test_entries_that_were_not_raced_are_said() -> None:
    assert "1 more entries" in served.against_no_folder([entry(0.5, 1.0), {"left_out": "no study"}])


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([0.01], [0.01]),
        ([0.01, 0.04], [0.02, 0.04]),
        ([0.04, 0.01, 0.03], [0.06, 0.03, 0.06]),
        ([0.9, 0.8], [1.0, 1.0]),
    ],
)
def test_holm(p_values: list[float], corrected: list[float]) -> None:
    assert served.holm(p_values) == pytest.approx(corrected)


def test_the_largest_ratio_is_the_worst() -> None:
    rows = [{"ratio": 1 + i / 1000, "configs": 100, "space": 50, "whole": i == 0} for i in range(11)]
    text = served.against_the_best(rows)
    assert "11 lookups, 1100 further configs" in text
    assert "whole space of 1" in text
    assert "median 1.005" in text and "worst 1.010" in text
