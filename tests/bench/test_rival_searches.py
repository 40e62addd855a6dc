"""Rival searches begin with the incumbent and keep to their budget."""

from __future__ import annotations

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
