"""The figures of random search are those of every possible draw."""

from __future__ import annotations

import itertools

import pytest

from autotune.bench import random_search
from autotune.bench.outcome import Spread
from autotune.measure.recording import Recording


@pytest.mark.parametrize("draws", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_random_is_exact(draws: int, share: float, small: Recording) -> None:
    """Against every possible draw of a small space."""
    left = random_search.regrets(small)
    found = sorted(min(left[i] for i in drawn) for drawn in itertools.combinations(range(len(left)), draws))
    assert random_search.spread(small, draws).quantile(share) == pytest.approx(Spread.even(found).quantile(share))
    assert random_search.worst_regret(small, draws) == pytest.approx(found[-1])


def test_draws_to_a_regret(small: Recording) -> None:
    good = int((random_search.regrets(small) <= 0.05).sum())
    needed = random_search.draws_to(small, 0.05)
    drawn = len(random_search.regrets(small))
    assert random_search.chance_within(drawn, needed)[good - 1] >= 0.5
    assert random_search.chance_within(drawn, needed - 1)[good - 1] < 0.5
