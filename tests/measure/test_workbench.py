"""Several workloads in one workbench: each is gated and timed, and the mean of their times counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from autotune.contract import Config, Expected, Floor, Kernel, Launch, Parameter, Problem, Workload
from autotune.contract.gpu import H200, Gpu
from autotune.kernels.csgmv_expand.problem import CsgmvExpandProblem
from autotune.kernels.csgmv_shrink.kernel import CsgmvShrink
from autotune.kernels.csgmv_shrink.problem import CsgmvShrinkProblem
from autotune.measure import compiling, workbench
from autotune.measure.settings import MeasureSettings
from autotune.measure.workbench import Workbench

SETTINGS = MeasureSettings(replays=5)
WORKLOADS = {"long": 3.0, "short": 1.0}
MEAN_US = 400.0
"""Of 800 and 50 us, which count three to one."""
TIMES_US = {"long": 800.0, "short": 50.0}


@dataclass(frozen=True)
class FillProblem(Problem):
    """Fill a tensor with ones, in any of the workloads."""

    workload: str = ""


@dataclass(frozen=True)
class FillInputs:
    workload: str
    out: torch.Tensor


class Fill(Kernel[FillProblem, FillInputs]):
    """Config ``wrong_on`` spoils the workload of that position."""

    name = "fill"
    problem_type = FillProblem

    def problem_from_flags(self, flags: Mapping[str, Any]) -> FillProblem:
        return FillProblem()

    def parameters(self, problem: FillProblem, space: str) -> tuple[Parameter, ...]:
        return (Parameter("wrong_on", (None, 0, 1)),)

    def default_config(self, problem: FillProblem, gpu: Gpu) -> Config:
        return {"wrong_on": None}

    def workloads(self, problem: FillProblem) -> tuple[Workload, ...]:
        return tuple(Workload(name, weight, FillProblem(name)) for name, weight in WORKLOADS.items())

    def floor(self, problem: FillProblem) -> Floor:
        return Floor(1, 1)

    def make_inputs(self, problem: FillProblem, device: str, seed: int) -> FillInputs:
        assert problem.workload, "inputs are asked for of workloads only"
        return FillInputs(problem.workload, torch.zeros(4))

    def launches(self, inputs: FillInputs, config: Config) -> list[Launch]:
        return []

    def run(self, inputs: FillInputs, config: Config) -> torch.Tensor:
        spoilt = config["wrong_on"] is not None and list(WORKLOADS)[config["wrong_on"]] == inputs.workload
        return inputs.out.fill_(2.0 if spoilt else 1.0)

    def poison(self, inputs: FillInputs) -> None:
        inputs.out.fill_(torch.nan)

    def reference(self, inputs: FillInputs, dtype: torch.dtype) -> Expected:
        return Expected(torch.ones(4, dtype=dtype), torch.zeros(4, dtype=dtype))


Clock = Callable[[str], float]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[Clock], Workbench]:
    """Returns a workbench on which runs of a workload take what a clock says, plain calls 300 us more."""

    def make(clock: Clock) -> Workbench:
        class ScriptedTimer:
            def __init__(self, operations: list[Any], graph_us: float) -> None:
                (run,) = operations
                self._workload = run.args[0].workload

            def sample_us(self) -> float:
                return clock(self._workload)

        monkeypatch.setattr(workbench, "WallTimer", ScriptedTimer)
        monkeypatch.setattr(workbench, "eager_us", lambda run, device, enough_us: 300.0 + clock(run.args[0].workload))
        return Workbench(Fill(), FillProblem(), "cpu", 0, SETTINGS)

    return make


GOOD: Config = {"wrong_on": None}


def test_the_time_is_the_weighted_mean_and_each_workloads_is_kept(bench: Callable[[Clock], Workbench]) -> None:
    found = bench(TIMES_US.__getitem__).measure(GOOD, None)
    assert found.status == "ok"
    assert found.samples_us == pytest.approx([MEAN_US] * SETTINGS.replays)
    assert found.workloads_us == {name: (time_us,) * SETTINGS.replays for name, time_us in TIMES_US.items()}
    assert found.to_json()["workloads_us"] == TIMES_US


@pytest.mark.parametrize("position", [0, 1])
def test_a_config_must_be_right_on_every_workload(bench: Callable[[Clock], Workbench], position: int) -> None:
    made = bench(TIMES_US.__getitem__)
    wrong = made.measure({"wrong_on": position}, None)
    assert wrong.status == "wrong_result"
    assert wrong.message.endswith(f"on {list(WORKLOADS)[position]}")
    raced = made.race([GOOD, {"wrong_on": position}], rounds=4)
    assert [r.status for r in raced] == ["ok", "wrong_result"]
    assert raced[0].samples_us == pytest.approx([MEAN_US] * 4)
    assert {name: len(samples_us) for name, samples_us in raced[0].workloads_us.items()} == {"long": 4, "short": 4}


@pytest.mark.parametrize(("limit_us", "status"), [(399.0, "pruned"), (401.0, "ok"), (None, "ok")])
def test_the_limit_is_one_of_the_mean(bench: Callable[[Clock], Workbench], limit_us: float | None, status: str) -> None:
    found = bench(TIMES_US.__getitem__).measure(GOOD, limit_us)
    assert found.status == status
    assert len(found.samples_us) == (3 if status == "pruned" else SETTINGS.replays)
    assert {len(samples_us) for samples_us in found.workloads_us.values()} == {len(found.samples_us)}


def test_noise_on_one_workload_at_a_time_does_not_give_a_config_up(bench: Callable[[Clock], Workbench]) -> None:
    """Every round is slow on some workload, so every mean is above the limit; the config itself is not."""
    calls = {"long": 0, "short": 0}

    def clock(workload: str) -> float:
        calls[workload] += 1
        slow = calls[workload] % 2 == (workload == "long")
        return TIMES_US[workload] * (1.5 if slow else 1.0)

    assert bench(clock).measure(GOOD, 401.0).status == "ok"


@pytest.mark.parametrize(("short_us", "status"), [(900_000.0, "pruned"), (-1.0, "ok")])
def test_a_plain_call_is_hopeless_only_if_it_bounds_the_mean(
    bench: Callable[[Clock], Workbench], short_us: float, status: str
) -> None:
    """A workload within the host's overhead may take no time at all on the device, and then so does the mean."""
    plain = {"long": 900_000.0, "short": short_us}
    timed: list[str] = []

    def clock(workload: str) -> float:
        timed.append(workload)
        return plain[workload] if len(timed) <= 2 else TIMES_US[workload]

    found = bench(clock).measure(GOOD, 1000.0)
    assert found.status == status
    assert ("hopeless" in found.message) == (status == "pruned")


def test_a_mixed_problem_of_a_real_kernel_is_measured_on_every_batch(device: str) -> None:
    problem = CsgmvShrinkProblem("float16", 16, 40, 16, 1, num_loras=2, workload="mixed", decode_requests=(1, 3), k=32)
    short = MeasureSettings(replays=1, rotation_bytes=1)
    made = Workbench(CsgmvShrink(), problem, device, 0, short)
    found = made.measure({"BLOCK_N": 16, "BLOCK_K": 32, "num_warps": 4, "num_stages": 1}, None)
    assert found.status == "ok", found.message
    assert list(found.workloads_us) == ["prefill", "decode of 1", "decode of 3"]
    made.close()


def test_every_batch_is_compiled_for() -> None:
    """Launches may differ from batch to batch: full chunks are walked through, a decode's are not."""
    problem = CsgmvExpandProblem(
        *("float16", 16, 30720, 16, 1), num_loras=2, workload="mixed", decode_requests=(8,), slice_widths=(4096,)
    )
    fields = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in problem.to_json().items())
    kernel, batches = compiling._meta_inputs("csgmv_expand", fields)
    config = kernel.default_config(problem, H200)
    grids = [launch.grid for inputs in batches for launch in kernel.launches(inputs, config)]
    assert len(set(grids)) == 2
