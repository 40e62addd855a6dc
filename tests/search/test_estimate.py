"""A kernel's own estimates: trusted while they hold."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.measure.recording import Recording
from autotune.measure.result import Measurement
from autotune.search.arrays import Floats
from autotune.search.estimate import estimated
from autotune.search.making import make_search
from autotune.search.pool import PoolSampler

Replay = Callable[..., list[tuple[int, Measurement]]]


def _log_times(recording: Recording) -> Floats:
    """Returns a perfect estimate; what fails is thought to be quick."""
    return np.array([math.log(m.median_us) if m.status == "ok" else 0.0 for m in recording.measurements])


def test_a_good_estimate_is_found_out_soon_and_a_bad_one_is_dropped(toy: Recording, replay: Replay) -> None:
    good = make_search("gp", toy.space, 0, log_estimate=_log_times(toy), stop="none")
    assert min(m.median_us for _, m in replay(toy, good, 12) if m.status == "ok") <= 1.01 * toy.best_us
    bad = make_search("gp", toy.space, 0, log_estimate=-_log_times(toy), stop="none")
    told = replay(toy, bad, 60)
    assert isinstance(bad.sampler, PoolSampler)
    assert bad.sampler.surrogate.trust == 0
    assert min(m.median_us for _, m in told if m.status == "ok") <= 1.01 * toy.best_us
    assert len({index for index, _ in told}) == len(told)


def test_a_kernel_without_estimates_is_no_error(toy: Recording) -> None:
    kernel = registry.load("lora_shrink")
    problem = kernel.problem_of_recording("vllm_shrink_M16_K5120_N16_L4_S1")
    assert problem is not None
    assert estimated(toy.configs, kernel, problem, H200) is None, "its parameters are others"
