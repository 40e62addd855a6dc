"""The gate: every way of being wrong is beyond the derived bound, every correct config within it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from autotune.contract import AnyKernel, Config, Expected, Gpu, Problem, registry
from autotune.measure.accuracy import error_ratio, expected

FLAGS = {"dtype": "float16", "m": 40, "hidden_size": 128, "lora_rank": 32, "num_loras": 3, "num_slices": 2}
TILE = 16

Spoil = Callable[[torch.Tensor, torch.Tensor], None]
"""Changes a result, given what stood there before the kernel ran."""


class Tampered:
    """A kernel whose result is changed after it ran, which it did once for all tests."""

    def __init__(self, case: Case, spoil: Spoil) -> None:
        self.case = case
        self.spoil = spoil

    def poison(self, inputs: Any) -> None: ...

    def run(self, inputs: Any, config: Config) -> torch.Tensor:
        out = self.case.result.clone()
        self.spoil(out, self.case.before)
        return out

    def laid_out(self, inputs: Any, output: torch.Tensor, config: Config) -> torch.Tensor:
        return self.case.kernel.laid_out(inputs, output, config)


@dataclass(frozen=True)
class Case:
    """A config that ran: what it wrote, and what stood there before."""

    kernel: AnyKernel
    problem: Problem
    inputs: Any
    config: Config
    expected: Expected
    result: torch.Tensor
    before: torch.Tensor

    def ratio(self, kernel: Any) -> float:
        return error_ratio(kernel, self.inputs, self.config, self.expected)


@pytest.fixture(scope="module", params=["lora_shrink", "lora_expand"])
def case(request: pytest.FixtureRequest, device: str, gpu: Gpu) -> Case:
    kernel = registry.load(request.param)
    problem = kernel.problem_from_flags(FLAGS)
    inputs, config = kernel.make_inputs(problem, device, 0), kernel.default_config(problem, gpu)
    wanted = expected(kernel, inputs)
    kernel.poison(inputs)
    out = kernel.run(inputs, config)
    result = out.clone()
    kernel.poison(inputs)
    return Case(kernel, problem, inputs, config, wanted, result, out.clone())


def changed_element(out: torch.Tensor, before: torch.Tensor) -> int:
    """Returns the element that the kernel changed most."""
    return int((out.float() - before.float()).abs().nan_to_num(nan=torch.inf).argmax())


def one_nan(out: torch.Tensor, before: torch.Tensor) -> None:
    out.view(-1)[-1] = torch.nan


def one_infinity(out: torch.Tensor, before: torch.Tensor) -> None:
    out.view(-1)[0] = torch.inf


def one_element_unwritten(out: torch.Tensor, before: torch.Tensor) -> None:
    element = changed_element(out, before)
    out.view(-1)[element] = before.view(-1)[element]


def nothing_written(out: torch.Tensor, before: torch.Tensor) -> None:
    out.copy_(before)


def a_tile_of_rows_off(out: torch.Tensor, before: torch.Tensor) -> None:
    out.copy_(out.roll(TILE, dims=-2))


def a_tile_of_columns_off(out: torch.Tensor, before: torch.Tensor) -> None:
    out.copy_(out.roll(TILE, dims=-1))


def slices_swapped(out: torch.Tensor, before: torch.Tensor) -> None:
    out.copy_(out.flip(0) if out.ndim == 3 else out.roll(out.shape[-1] // 2, dims=-1))


def one_element_a_hundredth_off(out: torch.Tensor, before: torch.Tensor) -> None:
    out.view(-1)[int(out.abs().argmax())] *= 1.01


def test_a_correct_config_passes(case: Case) -> None:
    assert case.ratio(case.kernel) <= 1


@pytest.mark.parametrize(
    "spoil",
    [
        one_nan,
        one_infinity,
        one_element_unwritten,
        nothing_written,
        a_tile_of_rows_off,
        a_tile_of_columns_off,
        slices_swapped,
        one_element_a_hundredth_off,
    ],
    ids=lambda spoil: spoil.__name__.replace("_", " "),
)
def test_a_wrong_result_is_beyond_the_bound(case: Case, spoil: Spoil) -> None:
    assert case.ratio(Tampered(case, spoil)) > 1


def test_what_an_earlier_config_wrote_does_not_count(case: Case) -> None:
    output = case.kernel.run(case.inputs, case.config)

    class Idle(Tampered):
        def poison(self, inputs: Any) -> None:
            case.kernel.poison(inputs)

        def run(self, inputs: Any, config: Config) -> torch.Tensor:
            return output

    assert case.ratio(Idle(case, nothing_written)) > 1


@pytest.mark.parametrize("factor", [0.0, 2.0], ids=["left out", "twice"])
def test_a_wrong_last_tile_of_the_sum_is_beyond_the_bound(case: Case, device: str, factor: float) -> None:
    inputs: Any = case.kernel.make_inputs(case.problem, device, 0)
    getattr(inputs, "arguments", inputs).x[..., -TILE:] *= factor
    assert replace(case, inputs=inputs).ratio(case.kernel) > 1


def test_an_infinite_ratio_stands_for_nan(case: Case) -> None:
    assert case.ratio(Tampered(case, one_nan)) == float("inf")


class Exact:
    """Promises ones, and no rounding at all."""

    def __init__(self, out: torch.Tensor) -> None:
        self.out = out

    def poison(self, inputs: Any) -> None: ...

    def laid_out(self, inputs: Any, output: torch.Tensor, config: Config) -> torch.Tensor:
        return output

    def run(self, inputs: Any, config: Config) -> torch.Tensor:
        return self.out

    def reference(self, inputs: Any, dtype: torch.dtype) -> Expected:
        return Expected(torch.ones(self.out.shape), torch.zeros(self.out.shape))


@pytest.mark.parametrize(("value", "passes"), [(1.0, True), (1.0 + 2**-23, False), (torch.nan, False)])
def test_a_bound_of_zero_asks_for_the_very_value(value: float, passes: bool) -> None:
    kernel: Any = Exact(torch.tensor([1.0, value, 1.0]))
    ratio = error_ratio(kernel, None, {}, expected(kernel, None))
    assert (ratio <= 1) is passes


def test_an_empty_result_is_correct() -> None:
    kernel: Any = Exact(torch.empty(0, 4))
    assert error_ratio(kernel, None, {}, expected(kernel, None)) == 0
