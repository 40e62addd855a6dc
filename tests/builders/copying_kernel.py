"""A kernel in a file of the user's, in plain torch: one that is right, one that is wrong and one without problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autotune.contract import Config, Expected, Floor, Gpu, Kernel, Launch, Parameter, Problem
from autotune.errors import InputError


@dataclass(frozen=True)
class CopyProblem(Problem):
    """Copy a vector of `size` numbers."""

    size: int

    @property
    def label(self) -> str:
        return f"size{self.size}"


@dataclass(frozen=True)
class CopyInputs:
    x: torch.Tensor
    out: torch.Tensor


class CopyingKernel(Kernel[CopyProblem, CopyInputs]):
    """Copies in `parts` pieces."""

    problem_type = CopyProblem

    def __init__(self, name: str, forgets_the_last: bool = False) -> None:
        self.name = name
        self.forgets_the_last = forgets_the_last

    def problem_from_flags(self, flags: Mapping[str, Any]) -> CopyProblem:
        if flags.get("size") is None:
            raise InputError("--dim: got no size; give --dim size=N")
        return CopyProblem(flags["size"])

    def parameters(self, problem: CopyProblem, space: str) -> tuple[Parameter, ...]:
        return (Parameter("parts", (1, 2, 3)),)

    def default_config(self, problem: CopyProblem, gpu: Gpu) -> Config:
        return {"parts": 1}

    def floor(self, problem: CopyProblem) -> Floor:
        return Floor(8 * problem.size, problem.size)

    def make_inputs(self, problem: CopyProblem, device: str, seed: int) -> CopyInputs:
        generator = None if device == "meta" else torch.Generator(device).manual_seed(seed)
        x = torch.randn(problem.size, generator=generator, device=device)
        return CopyInputs(x, torch.empty_like(x))

    def launches(self, inputs: CopyInputs, config: Config) -> list[Launch]:
        return []

    def run(self, inputs: CopyInputs, config: Config) -> torch.Tensor:
        parts = config["parts"] or 1
        written = parts - 1 if self.forgets_the_last and parts > 1 else parts
        for source, target in list(zip(inputs.x.chunk(parts), inputs.out.chunk(parts), strict=True))[:written]:
            target.copy_(source)
        return inputs.out

    def poison(self, inputs: CopyInputs) -> None:
        inputs.out.fill_(torch.nan)

    def reference(self, inputs: CopyInputs, dtype: torch.dtype) -> Expected:
        value = inputs.x.to(dtype)
        return Expected(value, torch.zeros_like(value))


KERNEL = CopyingKernel("copy")
WRONG_KERNEL = CopyingKernel("forgetful_copy", forgets_the_last=True)
UNKNOWN_KERNEL = CopyingKernel("copy_without_problems")

_PROBLEMS = (CopyProblem(1), CopyProblem(7), CopyProblem(64))
PROBLEMS = {KERNEL.name: _PROBLEMS, WRONG_KERNEL.name: _PROBLEMS}
"""What the conformance suite runs them on."""
