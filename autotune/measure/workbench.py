"""One problem set up on a device: argument sets, the expected result, and the measuring of configs over them."""

from __future__ import annotations

import functools
import gc
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from autotune.kernel import AnyKernel, Config, Problem
from autotune.measure.accuracy import error_ratio, expected
from autotune.measure.failures import failure
from autotune.measure.result import Measurement
from autotune.measure.settings import MeasureSettings
from autotune.measure.timing import CudaGraphTimer, Operation, Timer, WallTimer, eager_us

_SAMPLES_BEFORE_GIVING_UP = 3
# A plain call this much over the limit is hopeless, whatever part of it is host overhead.
_HOPELESS_FACTOR = 4
_HOST_OVERHEAD_US = 300.0
_L2_FACTOR = 2.5
# The first few graphs of a process can replay up to 15% faster than all later ones, as seen on an H200 with one config
# whose captures took 4.37 us three times and 5.03 us from then on. Every time that counts is taken after them.
_BURN_IN = 8


class Workbench:
    """Lives in the GPU worker; knows one problem.

    Args:
        device: ``cuda``, or ``cpu`` for kernels that run there.
        l2_bytes: Size of the cache that the argument sets must overflow.
    """

    def __init__(
        self, kernel: AnyKernel, problem: Problem, device: str, l2_bytes: int, settings: MeasureSettings
    ) -> None:
        torch.backends.cuda.matmul.allow_tf32 = False
        self._kernel = kernel
        self._problem = problem
        self._device = device
        self._settings = settings
        before_bytes = _allocated_bytes(device)
        first = kernel.make_inputs(problem, device, settings.seed)
        set_bytes = max(_allocated_bytes(device) - before_bytes, 1)
        rotation_bytes = max(settings.rotation_bytes, int(_L2_FACTOR * l2_bytes))
        count = min(settings.max_sets, math.ceil(rotation_bytes / set_bytes)) if device == "cuda" else 1
        others = (kernel.make_inputs(problem, device, settings.seed + i) for i in range(1, count))
        self._sets: list[Any] = [first, *others]
        self._expected = expected(kernel, first)
        self._burn_in = _BURN_IN if device == "cuda" else 0

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        """Gate, then time one config; give up early above the limit. Predicted failures come back as data."""
        start_s = time.monotonic()
        try:
            while self._burn_in > 0:
                self._burn_in -= 1
                self._measure(config, None)
            result = self._measure(config, limit_us)
        except Exception as error:
            result = failure(error)
        return replace(result, measure_s=time.monotonic() - start_s)

    def _measure(self, config: Config, limit_us: float | None) -> Measurement:
        ratio = error_ratio(self._kernel, self._sets[0], config, self._expected)
        if not ratio <= 1:
            return Measurement("wrong_result", message=_wrong(ratio), error_ratio=_finite(ratio))
        run = functools.partial(self._kernel.run, config=config)
        if limit_us is not None:
            hopeless_us = _HOPELESS_FACTOR * limit_us + _HOST_OVERHEAD_US
            plain_us = eager_us(lambda: run(self._sets[0]), self._device, hopeless_us)
            if plain_us > hopeless_us:
                return Measurement("pruned", (plain_us,), "even the fastest of a few plain calls was hopeless", ratio)
        timer = self._timer(config)
        samples: list[float] = []
        for _ in range(self._settings.replays):
            samples.append(timer.sample_us())
            if len(samples) == _SAMPLES_BEFORE_GIVING_UP and limit_us is not None and min(samples) > limit_us:
                return Measurement("pruned", tuple(samples), error_ratio=ratio)
        return Measurement("ok", tuple(samples), error_ratio=ratio)

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        """Check each config on fresh inputs, then time all of them in turn, forth and back, `rounds` times."""
        fresh = self._kernel.make_inputs(self._problem, self._device, self._settings.seed + 1_000_003)
        want = expected(self._kernel, fresh)
        results: list[Measurement] = []
        for config in configs:
            try:
                ratio = error_ratio(self._kernel, fresh, config, want)
                wrong = Measurement("wrong_result", message=_wrong(ratio), error_ratio=_finite(ratio))
                results.append(Measurement("ok", error_ratio=ratio) if ratio <= 1 else wrong)
            except Exception as error:
                results.append(failure(error))
                if results[-1].status == "crashed":
                    return results
        del fresh, want
        running = [i for i, result in enumerate(results) if result.status == "ok"]
        timers = {i: self._timer(configs[i]) for i in running}
        samples: dict[int, list[float]] = {i: [] for i in running}
        for turn in range(rounds):
            for i in running if turn % 2 == 0 else reversed(running):
                samples[i].append(timers[i].sample_us())
        return [replace(r, samples_us=tuple(samples.get(i, ()))) for i, r in enumerate(results)]

    def _timer(self, config: Config) -> Timer:
        operations: list[Operation] = [functools.partial(self._kernel.run, s, config) for s in self._sets]
        kind = CudaGraphTimer if self._device == "cuda" else WallTimer
        return kind(operations, self._settings.graph_us)

    def close(self) -> None:
        """Free the argument sets."""
        self._sets.clear()
        del self._expected
        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()


def _allocated_bytes(device: str) -> int:
    return torch.cuda.memory_allocated() if device == "cuda" else 0


def _wrong(ratio: float) -> str:
    return f"error is {ratio:.3g} times the largest a correct kernel can make"


def _finite(ratio: float) -> float | None:
    return ratio if math.isfinite(ratio) else None
