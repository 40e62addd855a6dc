"""Runs in the GPU worker: what it is asked to do, on the workbench of one problem at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autotune.contract import Config, registry
from autotune.measure.result import Measurement
from autotune.measure.settings import MeasureSettings
from autotune.measure.task import Task
from autotune.measure.workbench import Workbench, race


@dataclass(frozen=True)
class BenchJob:
    """What a `Workbench` is made of, in a form that travels to the worker."""

    kernel: str
    problem: dict[str, Any]
    device: str
    l2_bytes: int
    settings: MeasureSettings

    @classmethod
    def of(cls, task: Task) -> BenchJob:
        return cls(task.kernel, task.problem.to_json(), task.device, task.gpu.l2_bytes, task.settings)


_workbench: Workbench | None = None


def start(cache_dir: str) -> None:
    """Prepares a new worker process."""
    from triton import knobs

    knobs.cache.dir = cache_dir


def wake() -> None:
    """Makes the CUDA context."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def set_up(job: BenchJob) -> None:
    """Makes the workbench of a problem, in place of the one before."""
    global _workbench
    if _workbench is not None:
        _workbench.close()
    _workbench = _made(job)


def race_together(entrants: Sequence[tuple[BenchJob, Config]], rounds: int) -> list[Measurement]:
    """Races configs of several problems or kernels, on workbenches that are kept no longer."""
    global _workbench
    if _workbench is not None:
        _workbench.close()
        _workbench = None
    benches: list[tuple[BenchJob, Workbench]] = []
    for job, _ in entrants:
        if all(job != known for known, _ in benches):
            benches.append((job, _made(job)))
    try:
        found = [next(bench for known, bench in benches if known == job) for job, _ in entrants]
        # The first captures of a process replay faster than all later ones: none of these is raced.
        found[0].measure(entrants[0][1], None)
        return race([(bench, config) for bench, (_, config) in zip(found, entrants, strict=True)], rounds)
    finally:
        for _, bench in benches:
            bench.close()


def measure(config: Config, limit_us: float | None) -> Measurement:
    """Gates and times a config on the workbench."""
    return _bench().measure(config, limit_us)


def race_all(configs: list[Config], rounds: int) -> list[Measurement]:
    """Races configs on the workbench."""
    return _bench().race(configs, rounds)


def _made(job: BenchJob) -> Workbench:
    kernel = registry.load(job.kernel)
    problem = kernel.problem_type.from_json(job.problem)
    return Workbench(kernel, problem, job.device, job.l2_bytes, job.settings)


def _bench() -> Workbench:
    if _workbench is None:
        raise RuntimeError("the worker has no workbench; set_up comes first")
    return _workbench
