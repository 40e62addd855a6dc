"""The mean over workloads: what it minimises, and what it cannot go below."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from autotune.contract import AnyKernel, Workload, workloads
from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink
from autotune.kernels.csgmv_shrink.problem import CsgmvShrinkProblem

PROBLEM = CsgmvShrinkProblem("float16", 16, 32, 16, 1, k=64)
TIMES = st.floats(0.5, 1e5)


def made(weights: list[float]) -> list[Workload]:
    return [Workload(str(i), weight, PROBLEM) for i, weight in enumerate(weights)]


@given(TIMES)
def test_of_one_workload_it_is_the_time_itself(time_us: float) -> None:
    assert workloads.mean([time_us], made([0.7])) == time_us


def test_weights_count() -> None:
    assert workloads.mean([4.0, 32.0], made([2.0, 1.0])) == pytest.approx(8.0)
    assert workloads.mean([0.0, 32.0], made([1.0, 1.0])) == 0.0


@given(st.lists(st.tuples(TIMES, TIMES, TIMES, st.floats(0.1, 10)), min_size=1, max_size=4))
def test_it_orders_configs_as_the_mean_of_time_over_the_incumbents(rows: list[tuple[float, ...]]) -> None:
    one, other, incumbent, weights = (list(column) for column in zip(*rows, strict=True))
    found = made(weights)

    def relative(times_us: list[float]) -> float:
        return workloads.mean((t / i for t, i in zip(times_us, incumbent, strict=True)), found)

    objectives = math.log(workloads.mean(one, found) / workloads.mean(other, found))
    assert objectives == pytest.approx(math.log(relative(one) / relative(other)), abs=1e-9)


def test_the_floor_is_the_mean_of_the_workloads_floors() -> None:
    kernel: AnyKernel = CsgmvShrink()
    mixed = CsgmvShrinkProblem(
        "float16", 16, 4096, 64, 3, num_loras=4, workload="mixed", decode_requests=(8, 64), k=1024
    )
    parts = kernel.workloads(mixed)
    floors = [kernel.floor(part.problem).bytes for part in parts]
    expected = math.exp(sum(part.weight * math.log(f) for part, f in zip(parts, floors, strict=True)) / 2)
    assert workloads.floor(kernel, mixed).bytes == pytest.approx(expected, abs=0.5)
    assert workloads.floor(kernel, PROBLEM) == kernel.floor(PROBLEM)
