"""A comparison comes to the same in one process and in several."""

from __future__ import annotations

import os

import pytest

from autotune.bench.own_searches import Knowledge
from autotune.bench.score import Score
from autotune.bench.search import Comparison, run
from autotune.measure.recording import Recording


def regrets(scores: list[Score]) -> list[tuple[str, str, list[list[float]]]]:
    return [(s.recording.name, s.sampler, [outcome.regrets for outcome in s.outcomes]) for s in scores]


def test_processes_change_nothing_but_the_time_it_takes(toy: Recording, small: Recording) -> None:
    comparison = Comparison((toy.path, small.path), ("random", "sweep"), 2, (5, 10), Knowledge(estimate=False))
    told: list[Score] = []
    alone = run(comparison, told.append, workers=1)
    assert told == alone
    assert [len(score.outcomes) for score in alone] == [0, 2, 0, 2], "random is computed"
    assert regrets(run(comparison, workers=2)) == regrets(alone)


@pytest.mark.parametrize("before", [None, "7"])
def test_processes_leave_the_environment_as_it_was(
    toy: Recording, before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls this from Python goes on with as many threads as before."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if before is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    run(Comparison((toy.path,), ("sweep",), 1, (5,), Knowledge(estimate=False)), workers=2)
    assert os.environ.get("OMP_NUM_THREADS") == before
