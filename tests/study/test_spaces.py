"""A space is built once for a problem, and one does for problems of the same configs in the same order."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import pytest

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.kernels.lora_expand.problem import LoraExpandProblem
from autotune.study.spaces import space_of


def problem(m: int) -> LoraExpandProblem:
    return LoraExpandProblem(dtype="bfloat16", m=m, k=16, n=4096, num_slices=1, max_loras=4, slice_widths=(4096,))


def test_a_space_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, built = registry.load("lora_expand"), space_of(registry.load("lora_expand"), problem(48), H200, "wide")
    monkeypatch.setattr(Space, "build", None)
    assert space_of(kernel, problem(48), H200, "wide") is built


def test_sizes_of_the_same_configs_share_a_space_and_others_do_not() -> None:
    kernel = registry.load("lora_expand")
    spaces = {m: space_of(kernel, problem(m), H200, "wide") for m in (16, 1024, 4096)}
    assert spaces[1024] is spaces[4096] is not spaces[16]
    for m, found in spaces.items():
        assert found.configs == Space.build(kernel, problem(m), H200, "wide").configs
    assert space_of(kernel, problem(1024), H200, "vllm-grid") is not spaces[1024]


@dataclass(frozen=True)
class _Listed(LoraExpandProblem):
    noted: list[int] = field(default_factory=list)


def test_a_problem_that_cannot_be_hashed_has_a_space_as_well() -> None:
    kernel, sizes = registry.load("lora_expand"), {f.name: getattr(problem(48), f.name) for f in fields(problem(48))}
    found = space_of(kernel, _Listed(**sizes, noted=[1]), H200, "wide")
    assert found.configs == space_of(kernel, problem(48), H200, "wide").configs
