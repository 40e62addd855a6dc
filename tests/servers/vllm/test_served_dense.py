"""vLLM's own dense ops as kernels, on a stand-in package of the same signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.contract import AnyKernel, Problem, registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.errors import InputError
from autotune.servers.vllm import served_modules
from autotune.testing.problems import problems_of

KERNELS = ("lora_shrink", "lora_expand")


pytestmark = pytest.mark.usefixtures("served_package")


def served(name: str) -> AnyKernel:
    return registry.load(f"{name}@vllm-0.33.0")


def small(kernel: AnyKernel) -> list[Problem]:
    return [p for p in problems_of(kernel) if getattr(p, "dtype", "") == "float16" and kernel.floor(p).flops < 1e6]


def run(kernel: AnyKernel, inputs: Any, config: Any) -> torch.Tensor:
    kernel.poison(inputs)
    return kernel.run(inputs, config).double()


@pytest.mark.parametrize("name", KERNELS)
def test_it_computes_what_the_op_computes(name: str) -> None:
    kernel = served(name)
    assert small(kernel)
    for problem in small(kernel):
        inputs = kernel.make_inputs(problem, "cpu", 3)
        kernel.poison(inputs)
        expected = kernel.reference(inputs, torch.float64)
        config = kernel.default_config(problem, H200)
        error = (run(kernel, inputs, config) - expected.value).abs()
        assert bool((error <= expected.bound(config)).all())


@pytest.mark.parametrize("name", KERNELS)
def test_the_config_under_test_is_launched_and_the_lookup_is_left_alone(name: str) -> None:
    kernel = served(name)
    problem = small(kernel)[0]
    inputs = kernel.make_inputs(problem, "cpu", 0)
    config = {**kernel.default_config(problem, H200), "num_warps": 2, "num_stages": 4}
    module = served_modules.imported(f"{name}_op")
    kernel.run(inputs, config)
    assert getattr(module, f"_{name}_kernel").launched[-1][1] == {"num_warps": 2, "num_stages": 4}
    with pytest.raises(AssertionError, match="not asked"):
        module.get_lora_op_configs("shrink")


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", KERNELS)
def test_launches_are_recorded_and_not_made(name: str, device: str) -> None:
    kernel = served(name)
    problem = max(small(kernel), key=lambda p: getattr(p, "num_slices", 0))
    inputs = kernel.make_inputs(problem, device, 0)
    original = getattr(served_modules.imported(f"{name}_op"), f"_{name}_kernel")
    (launch,) = kernel.launches(inputs, kernel.default_config(problem, H200))
    assert launch.fn is original
    assert not original.launched
    assert launch.grid[1:] == (problem.num_slices, problem.max_loras + 1)  # type: ignore[attr-defined]
    assert getattr(served_modules.imported(f"{name}_op"), f"_{name}_kernel") is original


def test_a_second_argument_set_does_not_take_the_tables_of_the_first_from_it() -> None:
    """A captured graph reads the first set's table by its address."""
    kernel = served("lora_shrink")
    problem = max(small(kernel), key=lambda p: getattr(p, "num_slices", 0))
    first, second = (kernel.make_inputs(problem, "cpu", seed) for seed in (0, 1))
    tables = served_modules.imported("utils")._LORA_A_PTR_DICT
    for inputs in (first, second):
        key = tuple(weight.data_ptr() for weight in inputs.arguments.weights)
        assert tables[key] is inputs.arguments.tables


def test_a_table_of_an_address_that_was_used_before_is_made_anew() -> None:
    kernel = served("lora_shrink")
    problem = small(kernel)[0]
    inputs = kernel.make_inputs(problem, "cpu", 0)
    again = kernel.op.arguments(inputs.builtin, problem)  # type: ignore[attr-defined]
    assert again.tables is not inputs.arguments.tables


def test_a_failing_op_gives_its_own_lookup_and_kernel_back(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = served("lora_shrink")
    problem = small(kernel)[0]
    inputs, config = kernel.make_inputs(problem, "cpu", 0), kernel.default_config(problem, H200)
    module = served_modules.imported("lora_shrink_op")
    before = module.get_lora_op_configs, module._lora_shrink_kernel
    with pytest.raises(KeyError):
        kernel.launches(inputs, {name: value for name, value in config.items() if name != "num_warps"})
    assert (module.get_lora_op_configs, module._lora_shrink_kernel) == before


@pytest.mark.parametrize(("version", "stages"), [("0.32.0", 3), ("0.33.0", 1)])
def test_stages_of_an_expand_on_hopper_depend_on_the_release(version: str, stages: int) -> None:
    kernel = registry.load(f"lora_expand@vllm-{version}")
    problem = small(kernel)[0]
    config = {**kernel.default_config(problem, H200), "num_stages": 3}
    assert kernel.canonical(problem, config, H200)["num_stages"] == stages


@pytest.mark.parametrize("name", KERNELS)
def test_spaces_hold_the_default_and_are_of_the_served_kernel_alone(name: str) -> None:
    kernel = served(name)
    for problem in small(kernel):
        space = Space.build(kernel, problem, H200, kernel.spaces[0])
        assert space.incumbent == kernel.default_config(problem, H200)
        assert all(kernel.canonical(problem, config, H200) == config for config in space.configs)


def test_a_study_of_another_release_than_the_installed_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"lora_shrink@vllm-0.31.0: vllm 0.33.0 is installed here"):
        registry.load("lora_shrink@vllm-0.31.0").origin()


def test_a_server_without_triton_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "vllm" / "triton_utils.py").write_text("HAS_TRITON = False\n")
    kernel = served("lora_shrink")
    with pytest.raises(InputError, match="turned Triton off"):
        kernel.make_inputs(small(kernel)[0], "cpu", 0)


def test_kernels_that_no_server_has_are_named() -> None:
    with pytest.raises(InputError, match="allowed: lora_shrink, lora_expand, fused_moe_lora_gate_up_one_shot"):
        registry.load("csgmv_shrink@vllm-0.33.0")
