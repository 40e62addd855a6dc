"""A study goes on where it stands, and stops what it has started."""

from __future__ import annotations

from dataclasses import replace

import pytest
from optuna.storages import BaseStorage

from autotune.errors import HeldError, InputError, StorageError
from autotune.run.options import RunOptions
from autotune.run.runner import Runner
from autotune.study import studies
from autotune.study.study import KernelStudy
from tests.builders.double_study import BUDGET, SPEC, runner_of
from tests.builders.stand_in_backend import StandInBackends

pytestmark = pytest.mark.usefixtures("here")


def test_a_study_goes_on_where_it_was_created(storage: BaseStorage) -> None:
    result = runner_of(storage).run(studies.create(storage, "one", SPEC), BUDGET)
    assert result.decision.outcome == "default"
    assert result.counts == {"ok": 3}


@pytest.mark.parametrize("allow_env_change", [False, True])
def test_a_changed_space_is_refused_always(storage: BaseStorage, allow_env_change: bool) -> None:
    created = studies.create(storage, "one", replace(SPEC, space_fingerprint="0123"))
    with pytest.raises(InputError, match=r"study one: its space 'wide' has changed .*study delete one"):
        runner_of(storage, allow_env_change=allow_env_change).run(created, BUDGET)


def test_a_finished_study_keeps_its_result(storage: BaseStorage) -> None:
    created = studies.create(storage, "one", SPEC)
    result = runner_of(storage).run(created, BUDGET)
    assert runner_of(storage).run(created, BUDGET) == result
    assert len(created.study.trials) == 3


def test_a_runner_closes_the_backends_it_was_given(storage: BaseStorage) -> None:
    backends = StandInBackends()
    with Runner(storage, RunOptions("sqlite://"), backends):
        assert not backends.closed
    assert backends.closed


def test_a_listener_is_told_of_a_result_once_it_is_stored(storage: BaseStorage) -> None:
    told: list[str] = []

    def on_finished(study: KernelStudy) -> None:
        assert study.result is not None
        told.append(study.name)

    options = RunOptions("sqlite://", sampler="random")
    with Runner(storage, options, StandInBackends(), on_finished) as running:
        study = studies.create(storage, "one", SPEC)
        assert running.run(study, BUDGET) == running.run(study, BUDGET)
        running.run(studies.create(storage, "two", SPEC), BUDGET)
        assert told == ["one"], "it is finished once, and told of while the next is measured"
    assert told == ["one", "two"]


def test_a_storage_that_has_failed_is_written_to_no_more(storage: BaseStorage) -> None:
    told: list[KernelStudy] = []
    options = RunOptions("sqlite://", sampler="random")
    with pytest.raises(StorageError), Runner(storage, options, StandInBackends(), told.append) as running:
        running.run(studies.create(storage, "one", SPEC), BUDGET)
        raise StorageError("gone")
    assert not told


def test_a_run_of_a_gpu_keeps_other_runs_of_the_storage_from_it(storage: BaseStorage) -> None:
    class OnGpu(StandInBackends):
        def reserve(self, study: KernelStudy) -> str | None:
            return "GPU-1"

    one, two = studies.create(storage, "one", SPEC), studies.create(storage, "two", SPEC)
    options = RunOptions("sqlite://", sampler="random")
    with Runner(storage, options, OnGpu()) as running:
        running.run(one, BUDGET)
        with Runner(storage, options, OnGpu()) as other, pytest.raises(HeldError, match="GPU GPU-1 is being measured"):
            other.run(two, BUDGET)
        running.run(two, BUDGET)
    with Runner(storage, options, OnGpu()) as later:
        later.run(studies.create(storage, "three", SPEC), BUDGET)
