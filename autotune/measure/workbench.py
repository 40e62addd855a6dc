"""Sets one problem up on a device: argument sets, the expected result, and the measuring of configs over them."""

from __future__ import annotations

import functools
import gc
import itertools
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from autotune.contract import AnyKernel, Config, Expected, Problem, Workload, workloads
from autotune.measure.accuracy import error_ratio, expected
from autotune.measure.failures import failure
from autotune.measure.result import Measurement
from autotune.measure.settings import MeasureSettings
from autotune.measure.timing import CudaGraphTimer, Timer, WallTimer, eager_us

_SAMPLES_BEFORE_GIVING_UP = 3
# Plain calls this much over the limit are hopeless, however much of it is host overhead.
_HOPELESS_FACTOR = 4
_HOST_OVERHEAD_US = 300.0
_L2_FACTOR = 2.5
_MEMORY_SHARE = 0.25
"""Of the free device memory, the most that one workload's argument sets may take."""
# The first few graphs of a process can replay up to 15% faster than all later ones, as seen on an H200 with one config
# whose captures took 4.37 us three times and 5.03 us from then on. Every time that counts is taken after them.
_BURN_IN = 8


@dataclass
class _Batch:
    """The argument sets of one workload, and the result that is right for the first of them."""

    sets: list[Any]
    expected: Expected


class Workbench:
    """Lives in the GPU worker; knows one problem.

    A config is right if it is right on every workload of the problem, and its time is the weighted geometric mean of
    its times on them (`autotune.contract.workloads`).

    Args:
        device: ``cuda``, or ``cpu`` for kernels that run there.
        l2_bytes: Size of the cache that the argument sets of a workload must overflow.
    """

    def __init__(
        self, kernel: AnyKernel, problem: Problem, device: str, l2_bytes: int, settings: MeasureSettings
    ) -> None:
        torch.backends.cuda.matmul.allow_tf32 = False
        self._kernel = kernel
        self._device = device
        self._settings = settings
        self._rotation_bytes = max(settings.rotation_bytes, int(_L2_FACTOR * l2_bytes))
        self._workloads = kernel.workloads(problem)
        self._others_bytes = _allocated_bytes(device)
        self._batches = [self._batch(workload) for workload in self._workloads]
        self._burn_in = _BURN_IN if device == "cuda" else 0

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        """Gates, then times one config; gives up early above the limit. Predicted failures come back as data."""
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
        gate = self._gate(config, [(batch.sets[0], batch.expected) for batch in self._batches])
        if gate.failed:
            return gate
        if limit_us is not None and (hopeless := self._hopeless(config, limit_us)):
            return replace(hopeless, error_ratio=gate.error_ratio)
        timers = self.timers(config)
        rounds: list[list[float]] = []
        for _ in range(self._settings.replays):
            rounds.append([timer.sample_us() for timer in timers])
            if len(rounds) == _SAMPLES_BEFORE_GIVING_UP and limit_us is not None:
                # Noise only ever adds, so each workload's fastest sample is nearest the truth.
                fastest_us = self._mean(map(min, zip(*rounds, strict=True)))
                if fastest_us > limit_us:
                    return replace(self.timed(gate, rounds), status="pruned")
        return self.timed(gate, rounds)

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        """Checks each config on fresh inputs, then times all of them in turn, back and forth, `rounds` times."""
        return race([(self, config) for config in configs], rounds)

    def check(self, configs: Sequence[Config]) -> list[Measurement]:
        """Checks configs on fresh inputs; the answer ends at one that leaves the GPU context unusable."""
        fresh = [self._fresh(workload) for workload in self._workloads]
        gates: list[Measurement] = []
        for config in configs:
            try:
                gates.append(self._gate(config, fresh))
            except Exception as error:
                gates.append(failure(error))
                if gates[-1].status == "crashed":
                    break
        return gates

    def _batch(self, workload: Workload) -> _Batch:
        """Makes argument sets that overflow the cache with what a run touches: of 128 experts a small batch reads
        few."""
        before_bytes = _allocated_bytes(self._device)
        first = self._inputs(workload, 0)
        set_bytes = max(_allocated_bytes(self._device) - before_bytes, 1)
        touched_bytes = max(min(set_bytes, self._kernel.floor(workload.problem).bytes), 1)
        wanted = min(
            self._settings.max_sets,
            math.ceil(self._rotation_bytes / touched_bytes),
            max(1, int(_free_bytes(self._device) * _MEMORY_SHARE // set_bytes)),
        )
        others = [self._inputs(workload, i) for i in range(1, wanted if self._device == "cuda" else 1)]
        return _Batch([first, *others], expected(self._kernel, first))

    def _inputs(self, workload: Workload, offset: int) -> Any:
        return self._kernel.make_inputs(workload.problem, self._device, self._settings.seed + offset)

    def _fresh(self, workload: Workload) -> tuple[Any, Expected]:
        """Makes inputs that no config has been chosen on."""
        inputs = self._inputs(workload, 1_000_003)
        return inputs, expected(self._kernel, inputs)

    def _gate(self, config: Config, checks: Sequence[tuple[Any, Expected]]) -> Measurement:
        """Checks a config; returns ``ok`` with the largest error of all workloads, or ``wrong_result``."""
        ratios = [error_ratio(self._kernel, inputs, config, want) for inputs, want in checks]
        worst = max(ratios)
        if worst <= 1:
            return Measurement("ok", error_ratio=worst)
        workload = f" on {self._workloads[ratios.index(worst)].name}" if len(ratios) > 1 else ""
        message = f"error is {worst:.3g} times the largest a correct kernel can make{workload}"
        return Measurement("wrong_result", message=message, error_ratio=_finite(worst))

    def _hopeless(self, config: Config, limit_us: float) -> Measurement | None:
        """Tells from a few plain calls of each workload whether a config is hopeless, however much of the time is host
        overhead."""
        run = functools.partial(self._kernel.run, config=config)
        enough_us = _HOPELESS_FACTOR * limit_us + _HOST_OVERHEAD_US
        plain_us = [eager_us(functools.partial(run, batch.sets[0]), self._device, enough_us) for batch in self._batches]
        if self._mean(max(0.0, us - _HOST_OVERHEAD_US) for us in plain_us) <= _HOPELESS_FACTOR * limit_us:
            return None
        return Measurement("pruned", (self._mean(plain_us),), "even the fastest of a few plain calls was hopeless")

    def timers(self, config: Config) -> list[Timer]:
        """Opens one timer for each workload."""
        kind = CudaGraphTimer if self._device == "cuda" else WallTimer
        run = self._kernel.run
        return [
            kind([functools.partial(run, inputs, config) for inputs in batch.sets], self._settings.graph_us)
            for batch in self._batches
        ]

    def timed(self, gate: Measurement, rounds: Sequence[Sequence[float]]) -> Measurement:
        """Returns the gate's measurement with samples: the workloads' mean in every round, and each workload's own."""
        names = [workload.name for workload in self._workloads]
        columns = dict(zip(names, map(tuple, zip(*rounds, strict=True)), strict=True)) if len(names) > 1 else {}
        return replace(gate, samples_us=tuple(map(self._mean, rounds)), workloads_us=columns)

    def _mean(self, values: Iterable[float]) -> float:
        return workloads.mean(values, self._workloads)

    def close(self) -> None:
        """Frees the argument sets."""
        self._batches.clear()
        if self._device == "cuda":
            # Errors of the last configs can hold inputs in a cycle; else this is a tenth of a second for nothing.
            if _allocated_bytes(self._device) > self._others_bytes:
                gc.collect()
            torch.cuda.empty_cache()


def race(entrants: Sequence[tuple[Workbench, Config]], rounds: int) -> list[Measurement]:
    """Checks configs of one problem or several, then times all of them in turn, back and forth, `rounds` times.

    The answer ends at a config that leaves the GPU context unusable.
    """
    gates: list[Measurement] = []
    for bench, together in itertools.groupby(entrants, key=lambda entrant: entrant[0]):
        gates += bench.check([config for _, config in together])
        if gates[-1].status == "crashed":
            return gates
    running = [i for i, gate in enumerate(gates) if gate.status == "ok"]
    timers = {i: entrants[i][0].timers(entrants[i][1]) for i in running}
    samples: dict[int, list[list[float]]] = {i: [] for i in running}
    for turn in range(rounds):
        for i in running if turn % 2 == 0 else reversed(running):
            samples[i].append([timer.sample_us() for timer in timers[i]])
    return [entrants[i][0].timed(gate, samples[i]) if i in samples else gate for i, gate in enumerate(gates)]


def _free_bytes(device: str) -> int:
    return torch.cuda.mem_get_info()[0] if device == "cuda" else sys.maxsize


def _allocated_bytes(device: str) -> int:
    return torch.cuda.memory_allocated() if device == "cuda" else 0


def _finite(ratio: float) -> float | None:
    return ratio if math.isfinite(ratio) else None
