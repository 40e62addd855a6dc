"""Asks a kernel what it expects of its configs before any is measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.contract import AnyKernel, Config, Gpu, Problem
from autotune.search.arrays import Floats


def estimated(configs: Sequence[Config], kernel: AnyKernel, problem: Problem, gpu: Gpu) -> Floats | None:
    """Returns the kernel's estimate of each config, in log microseconds; None if there is one that it has none for."""
    try:
        found = [kernel.estimate_us(problem, config, gpu) for config in configs]
    except KeyError:
        # A recorded space may have other parameters than the kernel.
        return None
    known = np.array([us for us in found if us is not None])
    # Odd values in a recording can lead a formula to no time at all.
    return np.log(known) if len(known) == len(found) and (known > 0).all() and np.isfinite(known).all() else None
