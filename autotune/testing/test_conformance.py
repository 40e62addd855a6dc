"""Checks what the tuner relies on, for the kernel that ``--kernel`` names, or for all installed ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from triton.tools.tensor_descriptor import TensorDescriptor

from autotune.contract import AnyKernel, Call, Config, Expected, Gpu, Kernel, Launch, Problem, registry
from autotune.contract.space import Space
from autotune.errors import InputError
from autotune.measure.failures import classify
from autotune.testing.problems import problems_of

CONFIGS_PER_PROBLEM = 25
INTERPRETED_CONFIGS_PER_PROBLEM = 6
INTERPRETER_FLOPS = 1e7
COMPILER_PARAMETERS = {"num_warps", "num_stages", "num_ctas", "maxnreg", "max_nreg"}
"""Parameters that Triton's interpreter ignores."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs each test once for a kernel, or once for each of its problems."""
    if "kernel" not in metafunc.fixturenames:
        return
    kernels = _kernels(metafunc.config.getoption("--kernel"))
    if metafunc.function is test_estimates_are_times:
        kernels = [kernel for kernel in kernels if type(kernel).estimate_us is not Kernel.estimate_us]
    if "problem" not in metafunc.fixturenames:
        metafunc.parametrize("kernel", kernels, ids=[kernel.name for kernel in kernels])
        return
    try:
        cases = [(kernel, problem) for kernel in kernels for problem in problems_of(kernel)]
    except InputError as error:
        raise pytest.Collector.CollectError(str(error)) from error
    metafunc.parametrize(
        ("kernel", "problem"), cases, ids=[f"{kernel.name}-{problem.label}" for kernel, problem in cases]
    )


def _kernels(reference: str | None) -> list[AnyKernel]:
    if reference:
        return [registry.load(reference)]
    return [registry.installed().get(name) for name in registry.installed().names()]


@pytest.fixture
def small_enough(kernel: AnyKernel, problem: Problem, device: str) -> None:
    """Skips what would take Triton's interpreter minutes."""
    if device == "cpu" and kernel.floor(problem).flops > INTERPRETER_FLOPS:
        pytest.skip("too large for Triton's interpreter")


@pytest.fixture
def runnable(small_enough: None, problem: Problem, device: str) -> None:
    """Skips what Triton's interpreter cannot do."""
    if device == "cpu" and getattr(problem, "dtype", "") == "bfloat16":
        pytest.skip("Triton's interpreter multiplies bfloat16 as integers")


def assert_correct(kernel: AnyKernel, inputs: Any, config: Config) -> None:
    kernel.poison(inputs)
    expected = kernel.reference(inputs, torch.float64)
    assert_within_bound(kernel.laid_out(inputs, kernel.run(inputs, config), config), expected, config)


def assert_within_bound(output: torch.Tensor, expected: Expected, config: Config) -> None:
    wrong = beyond_bound(output, expected, config)
    assert not wrong.any(), f"{wrong.sum()} of {wrong.numel()} elements beyond the bound with {dict(config)}"


def beyond_bound(output: torch.Tensor, expected: Expected, config: Config) -> torch.Tensor:
    return ~((output.double() - expected.value).abs() <= expected.bound(config))


@pytest.mark.usefixtures("runnable")
def test_default_config_is_correct(kernel: AnyKernel, problem: Problem, device: str, gpu: Gpu) -> None:
    """Runs it once and looks at what surrounds a run, too: Triton's interpreter takes seconds for each."""
    inputs, config = kernel.make_inputs(problem, device, 1), kernel.default_config(problem, gpu)
    before = kernel.reference(inputs, torch.float64).value
    kernel.poison(inputs)
    expected = kernel.reference(inputs, torch.float64)
    output = kernel.run(inputs, config)
    assert_within_bound(kernel.laid_out(inputs, output, config), expected, config)
    for again in (inputs, kernel.make_inputs(problem, device, 1)):
        assert torch.equal(kernel.reference(again, torch.float64).value, before), "the reference depends on what ran"
    kernel.poison(inputs)
    poisoned = beyond_bound(kernel.laid_out(inputs, output, config), expected, config)
    assert poisoned.any(), "what a kernel leaves unwritten would pass for right"


def test_the_own_default_is_a_config_as_it_will_execute(kernel: AnyKernel, problem: Problem, gpu: Gpu) -> None:
    if (own := kernel.own_default(problem, gpu)) is not None:
        assert own == kernel.canonical(problem, own, gpu)
        assert set(own) == set(kernel.default_config(problem, gpu)), "it names what the default names"


@pytest.mark.usefixtures("runnable")
def test_configs_of_the_space_are_correct(kernel: AnyKernel, problem: Problem, device: str, gpu: Gpu) -> None:
    inputs = kernel.make_inputs(problem, device, 0)
    configs = [config for preset in kernel.spaces for config in Space.build(kernel, problem, gpu, preset).configs]
    random.Random(problem.label).shuffle(configs)
    checked = 0
    for config in various_first(configs, ignored=COMPILER_PARAMETERS if device == "cpu" else set()):
        try:
            assert_correct(kernel, inputs, config)
        except Exception as error:
            # Shared memory is bounded from below only: what exceeds it after all is found by compiling.
            if classify(error) != "out_of_resources":
                raise
            continue
        checked += 1
        if checked == (INTERPRETED_CONFIGS_PER_PROBLEM if device == "cpu" else CONFIGS_PER_PROBLEM):
            return
    assert checked > 0


def various_first(configs: Sequence[Config], ignored: set[str]) -> list[Config]:
    """Returns the configs that bring new values of parameters, the most first, then the other combinations of values.

    Args:
        ignored: Parameters that make no difference.
    """
    left: dict[frozenset[tuple[str, Any]], Config] = {}
    for config in configs:
        left.setdefault(frozenset((name, value) for name, value in config.items() if name not in ignored), config)
    various: list[Config] = []
    unseen = frozenset[tuple[str, Any]]().union(*left)
    while unseen:
        most = max(left, key=lambda values: len(values & unseen))
        unseen -= most
        various.append(left.pop(most))
    return [*various, *left.values()]


@pytest.mark.usefixtures("runnable")
def test_float32_reference_is_within_its_own_bound(kernel: AnyKernel, problem: Problem, device: str) -> None:
    inputs = kernel.make_inputs(problem, device, 0)
    single, exact = kernel.reference(inputs, torch.float32), kernel.reference(inputs, torch.float64)
    assert bool(((single.value - exact.value).abs() <= single.max_error).all())


@pytest.mark.usefixtures("small_enough")
def test_meta_launches_equal_real_ones(kernel: AnyKernel, problem: Problem, device: str, gpu: Gpu) -> None:
    config = kernel.default_config(problem, gpu)
    real = kernel.launches(kernel.make_inputs(problem, device, 0), config)
    meta = kernel.launches(kernel.make_inputs(problem, "meta", 0), config)
    assert [specialization(launch) for launch in meta] == [specialization(launch) for launch in real]


def specialization(launch: Launch) -> list[Any]:
    """Collects all that Triton compiles a launch for: values of numbers, types and alignment of tensors."""
    return [launch.fn, launch.grid, dict(launch.options), *map(specialized, launch.args)]


def specialized(argument: Any) -> tuple[Any, ...]:
    if isinstance(argument, torch.Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    if isinstance(argument, TensorDescriptor):
        return argument.base.dtype, argument.shape, argument.strides, argument.block_shape
    return type(argument), argument


def test_space_is_canonical(kernel: AnyKernel, problem: Problem, gpu: Gpu) -> None:
    incumbent = kernel.default_config(problem, gpu)
    for preset in kernel.spaces:
        space = Space.build(kernel, problem, gpu, preset)
        assert space.incumbent == incumbent
        assert all(kernel.canonical(problem, config, gpu) == config for config in space.configs)


def test_problem_survives_json(kernel: AnyKernel, problem: Problem) -> None:
    assert kernel.problem_type.from_json(json.loads(json.dumps(problem.to_json()))) == problem
    if call := kernel.call(problem):
        assert Call.from_json(json.loads(json.dumps(call.to_json()))) == call
    assert kernel.floor(problem).bytes > 0


def test_workloads_are_problems_of_the_kernel(kernel: AnyKernel, problem: Problem) -> None:
    workloads = kernel.workloads(problem)
    assert workloads
    assert all(workload.weight > 0 for workload in workloads)
    assert all(isinstance(workload.problem, kernel.problem_type) for workload in workloads)


def test_estimates_are_times(kernel: AnyKernel, problem: Problem, gpu: Gpu) -> None:
    """A kernel estimates all configs of a problem, or none."""
    space = Space.build(kernel, problem, gpu, kernel.spaces[0])
    found = [kernel.estimate_us(problem, config, gpu) for config in space.configs[:: 1 + len(space) // 50]]
    told = [us for us in found if us is not None]
    assert len(told) in (0, len(found))
    assert all(0 < us < 1e9 for us in told)


def test_labels_tell_problems_apart(kernel: AnyKernel) -> None:
    labels = [problem.label for problem in problems_of(kernel)]
    assert len(set(labels)) == len(labels)


def test_missing_flags_are_refused_in_words(kernel: AnyKernel) -> None:
    with pytest.raises(InputError):
        kernel.problem_from_flags({})


def test_the_recording_of_another_kernel_tells_no_problem(kernel: AnyKernel) -> None:
    assert kernel.problem_of_recording("someone_else_M16") is None
