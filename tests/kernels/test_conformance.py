"""What the tuner relies on, checked for every installed kernel.

A kernel takes part by a module `testing` beside its `kernel` module, with `PROBLEMS`: kernel name -> problems. Most
should be small and awkward (odd sizes, one row); those too large for Triton's interpreter run on a GPU only.
"""

from __future__ import annotations

import importlib
import json
import random
from typing import Any

import pytest
import torch

from autotune.contract import AnyKernel, Call, Config, Gpu, Launch, Problem, registry
from autotune.contract.space import Space
from autotune.errors import InputError
from autotune.measure import recording
from autotune.measure.failures import classify

CONFIGS_PER_PROBLEM = 25
INTERPRETER_FLOPS = 1e7


def problems_of(kernel: AnyKernel) -> tuple[Problem, ...]:
    package = type(kernel).__module__.rpartition(".")[0]
    problems: dict[str, tuple[Problem, ...]] = importlib.import_module(f"{package}.testing").PROBLEMS
    return problems[kernel.name]


KERNELS = [registry.installed().get(name) for name in registry.installed().names()]
CASES = [
    pytest.param(kernel, problem, id=f"{kernel.name}-{problem.label}")
    for kernel in KERNELS
    for problem in problems_of(kernel)
]
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
each_case = pytest.mark.parametrize(("kernel", "problem"), CASES)


@pytest.fixture
def runnable(kernel: AnyKernel, problem: Problem, device: str) -> None:
    """Skip what Triton's interpreter cannot do."""
    if device == "cpu" and kernel.floor(problem).flops > INTERPRETER_FLOPS:
        pytest.skip("too large for Triton's interpreter")
    if device == "cpu" and getattr(problem, "dtype", "") == "bfloat16":
        pytest.skip("Triton's interpreter multiplies bfloat16 as integers")


def assert_correct(kernel: AnyKernel, inputs: Any, config: Config) -> None:
    kernel.poison(inputs)
    expected = kernel.reference(inputs, torch.float64)
    error = (kernel.run(inputs, config).double() - expected.value).abs()
    wrong = (~(error <= expected.bound(config))).sum().item()
    assert wrong == 0, f"{wrong} of {error.numel()} elements beyond the bound with {dict(config)}"


@each_case
@pytest.mark.usefixtures("runnable")
def test_default_config_is_correct(kernel: AnyKernel, problem: Problem, device: str, gpu: Gpu) -> None:
    for seed in (0, 1):
        assert_correct(kernel, kernel.make_inputs(problem, device, seed), kernel.default_config(problem, gpu))


@each_case
@pytest.mark.usefixtures("runnable")
def test_random_configs_are_correct(kernel: AnyKernel, problem: Problem, device: str, gpu: Gpu) -> None:
    inputs = kernel.make_inputs(problem, device, 0)
    configs = [c for preset in kernel.spaces for c in Space.build(kernel, problem, gpu, preset).configs]
    random.Random(problem.label).shuffle(configs)
    checked = 0
    for config in configs:
        try:
            assert_correct(kernel, inputs, config)
        except Exception as error:
            # Shared memory is bounded from below only: what exceeds it after all is found by compiling.
            if classify(error) != "out_of_resources":
                raise
            continue
        checked += 1
        if checked == CONFIGS_PER_PROBLEM:
            return
    assert checked > 0


@each_case
@pytest.mark.usefixtures("runnable")
def test_poisoned_output_is_wrong(kernel: AnyKernel, problem: Problem, device: str, gpu: Gpu) -> None:
    inputs = kernel.make_inputs(problem, device, 0)
    config = kernel.default_config(problem, gpu)
    output = kernel.run(inputs, config)
    kernel.poison(inputs)
    expected = kernel.reference(inputs, torch.float64)
    assert not bool(((output.double() - expected.value).abs() <= expected.bound(config)).all())


@each_case
@pytest.mark.usefixtures("runnable")
def test_reference_does_not_depend_on_what_ran(kernel: AnyKernel, problem: Problem, device: str, gpu: Gpu) -> None:
    inputs = kernel.make_inputs(problem, device, 0)
    before = kernel.reference(inputs, torch.float64).value
    for _ in range(2):
        kernel.run(inputs, kernel.default_config(problem, gpu))
    again = kernel.reference(kernel.make_inputs(problem, device, 0), torch.float64).value
    torch.testing.assert_close(kernel.reference(inputs, torch.float64).value, before, rtol=0, atol=0)
    torch.testing.assert_close(again, before, rtol=0, atol=0)


@each_case
@pytest.mark.usefixtures("runnable")
def test_float32_reference_is_within_its_own_bound(kernel: AnyKernel, problem: Problem, device: str) -> None:
    inputs = kernel.make_inputs(problem, device, 0)
    single, exact = kernel.reference(inputs, torch.float32), kernel.reference(inputs, torch.float64)
    assert bool(((single.value - exact.value).abs() <= single.max_error).all())


@each_case
def test_meta_launches_equal_real_ones(kernel: AnyKernel, problem: Problem, device: str, gpu: Gpu) -> None:
    config = kernel.default_config(problem, gpu)
    real = kernel.launches(kernel.make_inputs(problem, device, 0), config)
    meta = kernel.launches(kernel.make_inputs(problem, "meta", 0), config)
    assert [specialization(launch) for launch in meta] == [specialization(launch) for launch in real]


def specialization(launch: Launch) -> list[Any]:
    """All that Triton compiles a launch for: values of numbers, types and alignment of tensors."""
    arguments = [
        (arg.dtype, arg.data_ptr() % 16 == 0) if isinstance(arg, torch.Tensor) else (type(arg), arg)
        for arg in launch.args
    ]
    return [launch.fn, launch.grid, dict(launch.options), *arguments]


@each_case
def test_space_is_canonical(kernel: AnyKernel, problem: Problem, gpu: Gpu) -> None:
    incumbent = kernel.default_config(problem, gpu)
    for preset in kernel.spaces:
        space = Space.build(kernel, problem, gpu, preset)
        assert space.incumbent == incumbent
        assert all(kernel.canonical(problem, config, gpu) == config for config in space.configs)


@each_case
def test_problem_survives_json(kernel: AnyKernel, problem: Problem) -> None:
    assert kernel.problem_type.from_json(json.loads(json.dumps(problem.to_json()))) == problem
    if call := kernel.call(problem):
        assert Call.from_json(json.loads(json.dumps(call.to_json()))) == call
    assert kernel.floor(problem).bytes > 0


@each_kernel
def test_labels_tell_problems_apart(kernel: AnyKernel) -> None:
    labels = [problem.label for problem in problems_of(kernel)]
    assert len(set(labels)) == len(labels)


@each_kernel
def test_second_registration_is_refused(kernel: AnyKernel) -> None:
    twice = registry.Registry()
    twice.register(kernel)
    with pytest.raises(InputError, match=f"'{kernel.name}' is registered twice"):
        twice.register(kernel)


@each_case
def test_estimates_are_times(kernel: AnyKernel, problem: Problem, gpu: Gpu) -> None:
    space = Space.build(kernel, problem, gpu, kernel.spaces[0])
    found = [kernel.estimate_us(problem, config, gpu) for config in space.configs[:: 1 + len(space) // 50]]
    assert all(us is None or 0 < us < 1e9 for us in found)


@each_kernel
def test_a_recording_tells_its_problem(kernel: AnyKernel) -> None:
    assert kernel.problem_of_recording("someone_else_M16") is None
    for path in recording.find():
        if (problem := kernel.problem_of_recording(path.name.removesuffix(recording.SUFFIX))) is not None:
            assert path.name.split("_")[1] == kernel.name.split("_")[1]
            assert path.name.startswith(("builtin", "vllm" if kernel.name.startswith("lora") else "sglang"))
            assert kernel.problem_type.from_json(problem.to_json()) == problem
