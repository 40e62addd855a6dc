"""A measurement is kept on its trial, and read back as it was."""

from __future__ import annotations

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from autotune.measure.result import Measurement, Status
from autotune.search.history import Observer
from autotune.study import trials
from autotune.study.writer import ThreadWriter, WriteQueue
from tests.builders.double_study import SPACE


@pytest.mark.parametrize(
    ("status", "samples", "state"),
    [
        ("ok", (3.0, 1.0, 2.0), TrialState.COMPLETE),
        ("pruned", (5.0, 4.0), TrialState.PRUNED),
        ("wrong_result", (), TrialState.FAIL),
        ("timeout", (), TrialState.FAIL),
    ],
)
def test_a_measurement_survives_its_trial(status: Status, samples: tuple[float, ...], state: TrialState) -> None:
    tried = optuna.create_study()
    live = trials.working_copy(tried, SPACE, RandomSampler())
    asked = live.ask(SPACE.distributions)
    index = SPACE.index(SPACE.config(asked.params))
    assert Observer(SPACE).observe(live).in_flight == (index,)
    measurement = Measurement(status, samples, "why", error_ratio=0.5, compile_s=1.5)
    with WriteQueue(ThreadWriter(tried)) as queue:
        queue.add(trials.tell(live, asked, measurement))
    assert Observer(SPACE).observe(live).in_flight == ()
    (stored,) = tried.trials
    assert trials.working_copy(tried, SPACE, RandomSampler()).trials[0].user_attrs == stored.user_attrs
    assert stored.state == state
    assert stored.value == (2.0 if status == "ok" else None) or state == TrialState.PRUNED
    assert list(stored.intermediate_values.values()) == list(samples)
    assert stored.user_attrs["message"] == "why"
    assert stored.user_attrs["compile_s"] == 1.5
    (found,) = trials.measured(tried.trials, SPACE)
    assert (found.index, found.status) == (index, status)
    assert found.time_us == {"ok": 2.0, "pruned": 4.5}.get(status)


def test_medians_of_workloads_are_kept_on_the_trial() -> None:
    tried = optuna.create_study()
    asked = tried.ask(SPACE.distributions)
    by_workload = {"prefill": (4.0, 1.0, 2.0), "decode of 64": (9.0, 8.0, 7.0)}
    trials.tell(tried, asked, Measurement("ok", (6.0, 3.0, 4.0), workloads_us=by_workload))
    (stored,) = tried.trials
    assert stored.value == 4.0
    assert stored.user_attrs["workloads_us"] == {"prefill": 2.0, "decode of 64": 8.0}
