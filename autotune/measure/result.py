"""Describes what one config's measurement came to. Predicted failures are data here, never exceptions (law 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

Status = Literal["ok", "pruned", "compile_error", "out_of_resources", "wrong_result", "timeout", "crashed"]

FAILURES: frozenset[Status] = frozenset({"compile_error", "out_of_resources", "wrong_result", "timeout", "crashed"})

COMPILE_FAILURES: frozenset[Status] = frozenset({"compile_error", "out_of_resources"})
"""Failures found before anything is launched: they take no time on the GPU."""


@dataclass(frozen=True)
class Resources:
    """What the compiled kernels of one config take: of several launches, the largest."""

    registers: int
    spill_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class Measurement:
    """One config, measured, given up early, or failed.

    Attributes:
        status: ``ok``, ``pruned``, or the class of the failure.
        samples_us: Microseconds a launch, one per replay of the timing graph, in the order taken; of several workloads,
            the weighted geometric mean of their times.
        message: For a failure, one line that says what happened.
        error_ratio: Largest error found by the accuracy gate over the largest allowed; at most 1 for a correct config.
        resources: Registers, spills and shared memory, where the config compiled on a GPU target.
        compile_s: Wall seconds in the compile process.
        measure_s: Wall seconds in the GPU worker.
        workloads_us: The samples of each workload, by name, where there are several; as many as of the mean.
    """

    status: Status
    samples_us: tuple[float, ...] = ()
    message: str = ""
    error_ratio: float | None = None
    resources: Resources | None = None
    compile_s: float = 0.0
    measure_s: float = 0.0
    workloads_us: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.status in FAILURES

    @property
    def median_us(self) -> float:
        """Median microseconds a launch; a pruned config's is a good estimate too.

        Raises:
            statistics.StatisticsError: If nothing was timed.
        """
        return median(self.samples_us)

    def to_json(self) -> dict[str, Any]:
        """Returns what a trial's user attributes hold; the samples are the trial's intermediate values, of workloads
        the medians."""
        data = asdict(self)
        del data["samples_us"]
        data["workloads_us"] = {name: median(samples_us) for name, samples_us in self.workloads_us.items()}
        return data
