"""Rival searches begin with the incumbent and keep to their budget."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotune.bench import kernel_tuner
from autotune.bench.rival_searches import RIVALS
from autotune.measure.recording import Recording


@pytest.mark.parametrize("name", [name for name in RIVALS if not name.startswith("kt-")])
def test_rivals_spend_their_budget_and_begin_with_the_incumbent(name: str, toy: Recording) -> None:
    outcome = RIVALS[name](toy, 15, 0)
    assert len(outcome.regrets) <= 15 <= outcome.asks
    assert outcome.regrets[0] == pytest.approx(toy.measurements[0].median_us / toy.best_us - 1)
    assert np.all(np.diff(outcome.regrets) <= 0)


@pytest.mark.skipif(not kernel_tuner.installed(), reason="the extra 'rivals' is not installed")
@pytest.mark.parametrize("name", kernel_tuner.STRATEGIES)
def test_kernel_tuner_strategies(name: str, toy: Recording) -> None:
    outcome = RIVALS[name](toy, 15, 0)
    assert 1 < len(outcome.regrets) <= 15 * 192 / 156 + 1
    assert outcome.infeasible == 0


@pytest.mark.parametrize("fails", ["with a start", "always"])
def test_a_strategy_that_fails_ends_no_comparison(fails: str, toy: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernel Tuner's own error where a config has no neighbour: it begins anywhere, or is left with the incumbent."""
    second = toy.configs[1]

    def tune_kernel(*_: Any, strategy_options: dict[str, Any], **__: Any) -> tuple[list[dict[str, Any]], None]:
        if fails == "always" or "x0" in strategy_options:
            raise TypeError("'NoneType' object is not iterable")
        return [dict(second)], None

    monkeypatch.setitem(sys.modules, "kernel_tuner", SimpleNamespace(tune_kernel=tune_kernel))
    outcome = RIVALS["kt-greedy-ils"](toy, 15, 0)
    found = [toy.measurements[0].median_us, *([toy.measurements[1].median_us] if fails == "with a start" else [])]
    assert outcome.regrets == pytest.approx([min(found[:n]) / toy.best_us - 1 for n in range(1, len(found) + 1)])
