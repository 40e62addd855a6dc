"""A kernel in a file of the user's, in plain torch, whose configs can be told to fail in every predicted way."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autotune.contract import Config, Expected, Floor, Gpu, Kernel, Launch, Parameter, Problem
from autotune.errors import InputError

OK, WRONG, NAN, CRASH, HANG, ILLEGAL_ACCESS, OUT_OF_RESOURCES, UNPREDICTED, UNWRITTEN = range(9)
# These fail when they are compiled.
COMPILE_HANG, COMPILE_CRASH, COMPILE_REFUSED = range(9, 12)


@dataclass(frozen=True)
class DoubleProblem(Problem):
    """Double a vector of `size` numbers."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"size: got {self.size}, allowed: 1 or more")

    @property
    def label(self) -> str:
        return f"size{self.size}"


@dataclass(frozen=True)
class DoubleInputs:
    x: torch.Tensor
    out: torch.Tensor


class FaultyKernel(Kernel[DoubleProblem, DoubleInputs]):
    """``repeats`` sets how long a config takes, ``fault`` how it fails."""

    name = "faulty"
    problem_type = DoubleProblem

    def problem_from_flags(self, flags: Mapping[str, Any]) -> DoubleProblem:
        if flags.get("size") is None:
            raise InputError("--dim: got no size; give --dim size=N")
        return DoubleProblem(flags["size"])

    def parameters(self, problem: DoubleProblem, space: str) -> tuple[Parameter, ...]:
        return (Parameter("repeats", (1, 2, 4)), Parameter("fault", tuple(range(12))))

    def default_config(self, problem: DoubleProblem, gpu: Gpu) -> Config:
        return {"repeats": 2, "fault": OK}

    def floor(self, problem: DoubleProblem) -> Floor:
        return Floor(8 * problem.size, problem.size)

    def make_inputs(self, problem: DoubleProblem, device: str, seed: int) -> DoubleInputs:
        generator = None if device == "meta" else torch.Generator(device).manual_seed(seed)
        x = torch.randn(problem.size, generator=generator, device=device)
        return DoubleInputs(x, torch.empty(problem.size, device=device))

    def launches(self, inputs: DoubleInputs, config: Config) -> list[Launch]:
        fault = config["fault"] or 0
        return [Launch(_FaultyCompiler(), (1,), (fault, inputs.x.numel()))] if fault >= COMPILE_HANG else []

    def run(self, inputs: DoubleInputs, config: Config) -> torch.Tensor:
        _fail(config["fault"] or 0)
        for _ in range(config["repeats"] or 1):
            inputs.out.copy_(2 * inputs.x)
        if config["fault"] == WRONG:
            inputs.out[0] += 1
        if config["fault"] == NAN:
            inputs.out[-1] = torch.nan
        if config["fault"] == UNWRITTEN:
            self.poison(inputs)
        return inputs.out

    def poison(self, inputs: DoubleInputs) -> None:
        inputs.out.fill_(torch.nan)

    def reference(self, inputs: DoubleInputs, dtype: torch.dtype) -> Expected:
        value = 2 * inputs.x.to(dtype)
        return Expected(value, torch.zeros_like(value))


class _FaultyCompiler:
    """Stands for a Triton function: what Launch.warmup calls."""

    def warmup(self, fault: int, size: int, grid: tuple[int, ...]) -> None:
        if fault == COMPILE_HANG:
            # As ptxas does: a process of its own, known by its arguments.
            subprocess.run(["sleep", "86400", str(size)], check=False)
        if fault == COMPILE_CRASH:
            os.kill(os.getpid(), signal.SIGKILL)
        raise CompilationError("at 1:0: this kernel cannot be compiled")


class CompilationError(Exception):
    """Named as Triton's."""


def _fail(fault: int) -> None:
    if fault == CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == HANG:
        threading.Event().wait()
    if fault == ILLEGAL_ACCESS:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if fault == OUT_OF_RESOURCES:
        raise RuntimeError("out of resource: shared memory, Required: 300000, Hardware limit: 232448")
    if fault == UNPREDICTED:
        raise ZeroDivisionError("nobody predicted this")


KERNEL = FaultyKernel()
