"""The space of a problem: feasible, canonical, distinct, the same every time, and lossless through Optuna."""

from __future__ import annotations

import importlib
import random
from dataclasses import fields, replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.contract import AnyKernel, Config, Problem, registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.errors import InputError

SIZES = st.integers(1, 20_000) | st.sampled_from([1, 8, 16, 32, 64, 128, 256, 4096, 8192])

each_kernel = pytest.mark.parametrize("name", registry.installed().names())


@st.composite
def problems(draw: st.DrawFn, kernel: AnyKernel) -> Problem:
    """A problem of the kernel's conformance suite, with every size replaced that the kernel lets be replaced."""
    suite = importlib.import_module(f"{type(kernel).__module__.rpartition('.')[0]}.testing").PROBLEMS
    problem: Problem = draw(st.sampled_from(suite[kernel.name]))
    derived = {field.name: () for field in fields(problem) if isinstance(getattr(problem, field.name), tuple)}
    for field in fields(problem):
        if type(getattr(problem, field.name)) is int:
            size = draw(SIZES)
            try:
                problem = replace(problem, **{field.name: size}, **derived)
            except InputError:
                continue
    return problem


@st.composite
def spaces(draw: st.DrawFn, name: str) -> tuple[AnyKernel, Problem, Space]:
    """A kernel, a problem of it, and one of its spaces."""
    kernel = registry.load(name)
    problem = draw(problems(kernel))
    return kernel, problem, Space.build(kernel, problem, H200, draw(st.sampled_from(kernel.spaces)))


def canonical_key(kernel: AnyKernel, problem: Problem, config: Config) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(kernel.canonical(problem, config, H200).items()))


def test_an_alias_will_do_where_it_is_clear() -> None:
    assert registry.of_server("fused_moe_lora_w13_shrink", None) == "fused_moe_lora_gate_up_shrink"
    assert registry.of_server("lora_shrink", None) == "lora_shrink", "a name comes first"
    assert registry.of_server("shrink", None) == "shrink", "two kernels' alias is nobody's"


@each_kernel
@settings(max_examples=8)
@given(data=st.data())
def test_every_config_is_feasible_and_none_comes_twice_after_the_incumbent(name: str, data: st.DataObject) -> None:
    kernel, problem, space = data.draw(spaces(name))
    assert space.configs[0] == space.incumbent == kernel.default_config(problem, H200)
    own = kernel.own_default(problem, H200)
    assert own is None or (space.has(own) and own == kernel.canonical(problem, own, H200))
    searched = [config for config in space.configs[1:] if config != own]
    assert all(kernel.infeasible(problem, config, H200) is None for config in searched)
    assert len({canonical_key(kernel, problem, config) for config in space.configs}) == len(space)
    assert [space.index(config) for config in space.configs] == list(range(len(space)))


@each_kernel
@settings(max_examples=4)
@given(data=st.data(), picks=st.randoms(use_true_random=False))
def test_configs_survive_optuna(name: str, data: st.DataObject, picks: random.Random) -> None:
    _, _, space = data.draw(spaces(name))
    study = optuna.create_study()
    for config in picks.sample(space.configs, min(3, len(space))):
        study.enqueue_trial(space.params(config))
        asked = study.ask(space.distributions)
        assert space.config(asked.params) == config
        stored = study.trials[asked.number]
        assert space.config(stored.params) == config


@each_kernel
@settings(max_examples=2)
@given(data=st.data())
def test_a_space_is_the_same_every_time(name: str, data: st.DataObject) -> None:
    """Nothing is kept between the problems of a kernel, of which each is built twice, the other in between."""
    kernel = registry.load(name)
    problem, other = data.draw(problems(kernel)), data.draw(problems(kernel))
    first, _, again = (Space.build(kernel, each, H200, kernel.spaces[0]) for each in (problem, other, problem))
    assert first.configs == again.configs
    assert first.fingerprint == again.fingerprint
    shuffled = random.Random(0).sample(first.configs, len(first))
    assert Space(shuffled, first.incumbent).fingerprint == first.fingerprint


SMALL: list[Config] = [
    {"block": block, "maxnreg": maxnreg, "ctas": 1} for block in (16, 32, 64) for maxnreg in (None, 128)
]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(SMALL[:-1], id="a config less"),
        pytest.param([*SMALL, {"block": 128, "maxnreg": None, "ctas": 1}], id="a config more"),
        pytest.param([*SMALL[:-1], {"block": 64, "maxnreg": 96, "ctas": 1}], id="another value"),
        pytest.param([{**config, "ctas": 2} for config in SMALL], id="another fixed value"),
        pytest.param([{"blocks" if k == "block" else k: v for k, v in c.items()} for c in SMALL], id="another name"),
    ],
)
def test_the_fingerprint_changes_with_the_space(changed: list[Config]) -> None:
    assert Space(changed, changed[0]).fingerprint != Space(SMALL, SMALL[0]).fingerprint


def test_the_fingerprint_does_not_change_between_versions() -> None:
    """Another algorithm would make every stored study refuse to go on."""
    assert Space(SMALL, SMALL[0]).fingerprint == "f9ed007ae8a5edad"


def test_unset_values_and_fixed_parameters_survive_optuna() -> None:
    space = Space(SMALL, SMALL[0])
    assert [p.name for p in space.tunable] == ["block", "maxnreg"]
    study = optuna.create_study()
    study.enqueue_trial(space.params(SMALL[2]))
    trial = study.ask(space.distributions)
    assert trial.params == {"block": 32, "maxnreg": None}
    assert space.config(trial.params) == SMALL[2]


def test_ordinals_follow_the_order_of_values() -> None:
    space = Space(SMALL, SMALL[0])
    assert space.ordinals.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]


def test_configs_that_name_different_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="got a config with"):
        Space([*SMALL, {"block": 16}], SMALL[0])


def test_an_unknown_preset_is_refused() -> None:
    kernel = registry.load("lora_shrink")
    problem = importlib.import_module("autotune.kernels.lora_shrink.testing").PROBLEMS["lora_shrink"][0]
    with pytest.raises(InputError, match="--space: got 'huge' for lora_shrink; allowed: wide, vllm-grid"):
        Space.build(kernel, problem, H200, "huge")
