"""Checks every config before it is timed: on the exact problem, with a poisoned output, under a derived error bound."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from autotune.contract import AnyKernel, Config, Expected

_TINY = 1e-30


def error_ratio(kernel: AnyKernel, inputs: Any, config: Config, expected: Expected) -> float:
    """Returns the largest error over the largest allowed one: at most 1 if correct, infinite for NaN or unwritten
    output.

    Args:
        expected: As `expected` gives it: nowhere is no error at all allowed.
    """
    kernel.poison(inputs)
    out = kernel.laid_out(inputs, kernel.run(inputs, config), config)
    return worst_ratio(out, expected, config)


def worst_ratio(out: torch.Tensor, expected: Expected, config: Config) -> float:
    """Returns the largest error of an output over the largest allowed one, as `error_ratio` does."""
    if out.numel() == 0:
        return 0.0
    # In place and without more passes than it takes: on outputs of hundreds of megabytes this is what a config costs.
    low, high = torch.sub(out, expected.value).div_(expected.bound(config)).aminmax()
    worst = float(torch.maximum(-low, high))
    return math.inf if math.isnan(worst) else worst


def expected(kernel: AnyKernel, inputs: Any) -> Expected:
    """Returns the reference in fp32 (TF32 off); its bound has room for the reference's own rounding."""
    kernel.poison(inputs)
    found = kernel.reference(inputs, torch.float32)
    return replace(found, max_error=found.max_error.clamp_min(_TINY))
