"""Compiles one config without a GPU, in a process of the compile pool.

The launches of a kernel are compiled over inputs on torch's ``meta`` device with a driver that only names its target,
so that Triton finds the result in its cache when the GPU worker launches the very same thing.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune.contract import AnyKernel, Gpu, registry
from autotune.measure.failures import failure
from autotune.measure.result import Measurement, Resources

REGISTERS_PER_SM = 65_536
WARP_SIZE = 32
_NICENESS = 10
"""All cores compile; measuring and choosing, one process each, must not wait for them."""
_USAGE = re.compile(r"REG:(\d+) STACK:(\d+)")


@dataclass(frozen=True)
class CompileJob:
    """One config to compile: which kernel (a registry reference), problem (as JSON), config, target."""

    kernel: str
    problem: tuple[tuple[str, Any], ...]
    config: tuple[tuple[str, int | None], ...]
    gpu: Gpu


def start_worker(cache_dir: str) -> None:
    """Sets up a compile process: it uses the tool's own Triton cache, and gives way to the search and the GPU
    worker."""
    import torch
    from triton import knobs

    os.nice(_NICENESS)
    # There are as many of these processes as cores already.
    torch.set_num_threads(1)

    knobs.cache.dir = cache_dir


def compile_config(job: CompileJob) -> Measurement:
    """Compiles every launch of a config, for every workload; returns ``ok`` with its resources, or the failure."""
    start_s = time.monotonic()
    try:
        result = _compile(job)
    except Exception as error:
        result = failure(error)
    return replace(result, compile_s=time.monotonic() - start_s)


def _compile(job: CompileJob) -> Measurement:
    _target_only_driver(job.gpu)
    kernel, batches = _meta_inputs(job.kernel, job.problem)
    compiled = [launch.warmup() for inputs in batches for launch in kernel.launches(inputs, dict(job.config))]
    if not compiled:
        return Measurement("ok")
    used = [_resources(c.asm["cubin"], c.metadata.shared) for c in compiled]
    largest = Resources(
        registers=max(u.registers for u in used),
        spill_bytes=max(u.spill_bytes for u in used),
        shared_bytes=max(u.shared_bytes for u in used),
    )
    warps = max(c.metadata.num_warps for c in compiled)
    if reason := refusal(largest, warps, job.gpu):
        return Measurement("out_of_resources", message=reason, resources=largest)
    return Measurement("ok", resources=largest)


def refusal(used: Resources, warps: int, gpu: Gpu) -> str | None:
    """Tells why the GPU would refuse to launch a compiled kernel; None if it would not."""
    if used.shared_bytes > gpu.shared_bytes:
        return f"needs {used.shared_bytes} B of shared memory, {gpu.name} has {gpu.shared_bytes}"
    if used.registers * warps * WARP_SIZE > REGISTERS_PER_SM:
        return f"needs {used.registers} registers in each of {warps} warps"
    return None


def _resources(cubin: bytes, shared_bytes: int) -> Resources:
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        listing = subprocess.run(
            [knobs.nvidia.cuobjdump.path, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    usage = [(int(registers), int(stack)) for registers, stack in _USAGE.findall(listing)]
    registers, stack = (max(column) for column in zip(*usage, strict=True)) if usage else (0, 0)
    return Resources(registers, stack, shared_bytes)


@functools.lru_cache(maxsize=4)
def _meta_inputs(reference: str, problem: tuple[tuple[str, Any], ...]) -> tuple[AnyKernel, list[Any]]:
    """Makes the inputs of each workload."""
    kernel = registry.load(reference)
    workloads = kernel.workloads(kernel.problem_type.from_json(dict(problem)))
    return kernel, [kernel.make_inputs(workload.problem, "meta", 0) for workload in workloads]


@functools.lru_cache(maxsize=1)
def _target_only_driver(gpu: Gpu) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    major, minor = gpu.capability
    driver.set_active(_TargetOnlyDriver(GPUTarget("cuda", major * 10 + minor, WARP_SIZE)))


class _TargetOnlyDriver:
    """The part of a Triton driver that compiling asks for."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def get_current_target(self) -> Any:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0
