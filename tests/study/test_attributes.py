"""What a study keeps comes back as it was; what this release cannot read is refused in one line."""

from __future__ import annotations

import optuna
import pytest

from autotune.contract import Call
from autotune.errors import InputError
from autotune.study import attributes
from autotune.study.membership import Membership
from autotune.study.study import KernelStudy
from tests.builders.study_results import group_result, study_result, summary


@pytest.fixture
def study() -> KernelStudy:
    storage = optuna.storages.InMemoryStorage()
    made = optuna.create_study(storage=storage)
    spec = summary(Call("vllm", "shrink", {"m": 16}), None).spec
    attributes.write_spec(made, spec)
    return KernelStudy(made, spec, storage)


def test_what_is_kept_comes_back(study: KernelStudy) -> None:
    assert attributes.spec(study.study.user_attrs) == study.spec
    assert (study.result, study.group_result, study.searched) == (None, None, False)
    result = study_result()
    group = group_result("all", {study.name: result}, {})
    study.finish(result)
    study.finish_group(group)
    study.mark_searched()
    assert (study.result, study.group_result, study.searched) == (result, group, True)
    study.reopen()
    assert study.result is None


def test_figures_stand_flat_for_the_columns_of_other_tools(study: KernelStudy) -> None:
    names = ("kernel", "state", "default_us", "tuned_us", "speedup")
    study.finish(study_result(incumbent_us=2.0, tuned_us=1.0))
    assert [study.study.user_attrs[name] for name in names] == ["lora_shrink (builtin)", "tuned", 2.0, 1.0, 2.0]
    study.reopen()
    assert [study.study.user_attrs[name] for name in names[1:]] == ["started", None, None, None]


def test_a_study_may_be_of_several_plans(study: KernelStudy) -> None:
    first = Membership(0, 36.0, (Call("vllm", "shrink", {"m": 16}),))
    second = Membership(3, 1.5, ())
    study.join("one", first)
    study.join("two", second)
    assert (study.membership("one"), study.membership("two"), study.membership("three")) == (first, second, None)


def test_what_cannot_be_read_is_refused_in_one_line(study: KernelStudy) -> None:
    study.study.set_user_attr("result", {"outcome": "tuned"})
    with pytest.raises(InputError, match="attribute 'result' of a study is not one that this") as error:
        _ = study.result
    assert "\n" not in str(error.value)
