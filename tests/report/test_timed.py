"""Every timed trial counts, pruned ones among them."""

from __future__ import annotations

from autotune import api
from autotune.report.timed import TimedTrial, fastest_by_pair, importances, timed_trials
from tests.conftest import Cli


def test_pruned_trials_are_timed_and_failures_are_not(finished: Cli) -> None:
    (shrink, _) = api.find(api.open_storage(finished.url))
    timed = timed_trials(shrink)
    counts = shrink.result.counts if shrink.result else {}
    assert sum(trial.pruned for trial in timed) == counts["pruned"] > 0
    assert len(timed) == counts["pruned"] + counts["ok"]


def test_importance_counts_them_all(finished: Cli) -> None:
    (shrink, _) = api.find(api.open_storage(finished.url))
    found = importances(shrink)
    assert set(found) == set(timed_trials(shrink)[0].params)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert sum(found.values()) > 0


def test_a_pair_of_values_has_the_time_of_its_fastest_config() -> None:
    trials = [
        TimedTrial(i, time, False, {"a": 1, "b": b}) for i, (time, b) in enumerate([(3.0, 1), (2.0, 1), (5.0, 2)])
    ]
    assert fastest_by_pair(trials, "a", "b") == {(1, 1): 2.0, (1, 2): 5.0}
    assert fastest_by_pair(trials, "a", "c") == {}
