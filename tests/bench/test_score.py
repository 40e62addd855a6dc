"""What many searches of one sampler come to."""

from __future__ import annotations

from autotune.bench.outcome import SearchOutcome
from autotune.bench.score import Score
from autotune.measure.recording import Recording


def test_a_search_that_does_not_stop_ends_with_its_budget(toy: Recording) -> None:
    stopped, other = (
        SearchOutcome(toy, regrets=[0.3, 0.2, 0.1], stopped_after=2),
        SearchOutcome(toy, regrets=[0.4, 0.4, 0.4]),
    )
    row = Score(toy, "gp", (stopped, other)).row(3)
    assert (row.evals_at_stop, row.regret_at_stop) == (2.5, 0.4)
    assert Score(toy, "gp", (other, other)).row(3).evals_at_stop is None
