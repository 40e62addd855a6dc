"""What counts as an evaluation, and quantiles of a few regrets."""

from __future__ import annotations

import pytest

from autotune.bench.outcome import SearchOutcome, Spread, slowest
from autotune.measure.recording import Recording


def test_compile_failures_and_repeats_are_no_evaluations(toy: Recording) -> None:
    failing = next(c for c, m in zip(toy.configs, toy.measurements, strict=True) if m.failed)
    outcome = SearchOutcome(toy)
    outcome.ask(failing)
    assert outcome.regrets == []
    assert outcome.regret(1) == slowest(toy)
    outcome.ask(toy.configs[0])
    outcome.ask(toy.configs[0])
    outcome.ask({**toy.configs[0], "BLOCK_M": 7})
    assert (len(outcome.regrets), outcome.repeated, outcome.infeasible, outcome.asks) == (1, 1, 1, 4)
    assert outcome.regret(100) == outcome.regrets[-1]
    assert outcome.evaluations_to(-1) == float("inf")


def test_the_median_of_two_is_halfway() -> None:
    assert Spread.even([0.0, 0.02]).median == pytest.approx(0.01)
    assert Spread.even([0.0, 0.02, 0.5]).median == pytest.approx(0.02)
    assert Spread.pooled([Spread.even([0.0, 0.1]), Spread.even([0.2, 0.3])]).median == pytest.approx(0.15)
    assert Spread.even([0.3]).median == pytest.approx(0.3)
