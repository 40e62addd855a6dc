"""When a study refuses to go on: another machine, kernel source, backend or process."""

from __future__ import annotations

from dataclasses import replace

import pytest
from optuna.storages import BaseStorage

from autotune.errors import HeldError, InputError
from autotune.study import studies
from autotune.study.spec import StudySpec
from tests.builders.double_study import BUDGET, HERE, SPEC, runner_of

pytestmark = pytest.mark.usefixtures("here")


ELSEWHERE = [
    pytest.param(
        replace(SPEC, environment=replace(HERE, **{name: value})), f"{name} {value} -> {HERE.known[name]}", id=name
    )
    for name, value in (("gpu", "NVIDIA H100"), ("driver", "550.2"), ("torch", "2.9.0"), ("triton", "3.5.1"))
]
ELSEWHERE.append(
    pytest.param(
        replace(SPEC, kernel_fingerprint="0123"), f"kernel source 0123 -> {SPEC.kernel_fingerprint}", id="kernel source"
    )
)


@pytest.mark.parametrize(("spec", "difference"), ELSEWHERE)
def test_a_study_from_elsewhere_is_refused_with_the_difference(
    storage: BaseStorage, spec: StudySpec, difference: str
) -> None:
    created = studies.create(storage, "one", spec)
    with pytest.raises(InputError) as error:
        runner_of(storage).run(created, BUDGET)
    assert difference in str(error.value)
    assert str(error.value).count("->") == 1, "only what differs is named"
    assert "--allow-env-change" in str(error.value)
    assert "--tag" in str(error.value)
    assert not created.study.trials


@pytest.mark.parametrize(("spec", "difference"), ELSEWHERE)
def test_a_study_from_elsewhere_goes_on_if_that_is_wanted(
    storage: BaseStorage, spec: StudySpec, difference: str
) -> None:
    assert runner_of(storage, allow_env_change=True).run(studies.create(storage, "one", spec), BUDGET).counts == {
        "ok": 3
    }


def test_another_backend_is_refused(storage: BaseStorage) -> None:
    created = studies.create(storage, "one", SPEC)
    with pytest.raises(InputError, match="study one is a cuda study"):
        runner_of(storage, backend="replay").run(created, BUDGET)


def test_a_running_study_is_not_run_twice(storage: BaseStorage) -> None:
    created = studies.create(storage, "one", SPEC)
    other = studies.create(storage, "other", SPEC)
    with runner_of(storage).holding([created]):
        with pytest.raises(HeldError, match=r"study one is being run by process \d+ on "):
            runner_of(storage).run(created, BUDGET)
        assert runner_of(storage).run(other, BUDGET)
    assert runner_of(storage).run(created, BUDGET)
