"""Times several kinds of batch behind one key: a study minimises the mean of their times, above one floor.

The objective is the weighted geometric mean of the workloads' times. It orders configs exactly as the weighted
geometric mean of time over the incumbent's does, which is the objective divided by the incumbent's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from autotune.contract import AnyKernel, Floor, Problem, Workload


def mean(values: Iterable[float], workloads: Sequence[Workload]) -> float:
    """Returns the weighted geometric mean of one value of each workload; of a single workload, the value itself."""
    total = sum(workload.weight for workload in workloads)
    pairs = zip(values, workloads, strict=True)
    return float(math.prod(value ** (workload.weight / total) for value, workload in pairs))


def floor(kernel: AnyKernel, problem: Problem) -> Floor:
    """Returns what the objective cannot go below: the same mean of the workloads' floors."""
    workloads = kernel.workloads(problem)
    floors = [kernel.floor(workload.problem) for workload in workloads]
    return Floor(round(mean((f.bytes for f in floors), workloads)), round(mean((f.flops for f in floors), workloads)))
