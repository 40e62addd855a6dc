"""Describes what a GPU backend is asked to measure."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.contract import Gpu, Problem
from autotune.measure.settings import MeasureSettings


@dataclass(frozen=True)
class Task:
    """One problem to measure: the kernel's registry reference, the problem, the GPU and how to measure.

    Attributes:
        device: ``cuda``, or ``cpu`` for kernels that run there.
    """

    kernel: str
    problem: Problem
    gpu: Gpu
    settings: MeasureSettings
    device: str = "cuda"
