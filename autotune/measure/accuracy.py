"""The gate every config passes before it is timed: the exact problem, a poisoned output, a derived error bound."""

from __future__ import annotations

from typing import Any

import torch

from autotune.kernel import AnyKernel, Config, Expected

_TINY = 1e-30


def error_ratio(kernel: AnyKernel, inputs: Any, config: Config, expected: Expected) -> float:
    """Largest error over the largest allowed one: at most 1 if correct, infinite for NaN or unwritten output."""
    kernel.poison(inputs)
    out = kernel.run(inputs, config)
    error = (out.to(expected.value.dtype) - expected.value).abs()
    if error.numel() == 0:
        return 0.0
    worst = float((error / expected.bound(config).clamp_min(_TINY)).nan_to_num(nan=torch.inf).max())
    return worst


def expected(kernel: AnyKernel, inputs: Any) -> Expected:
    """The reference in fp32 (TF32 off); its bound has room for the reference's own rounding."""
    kernel.poison(inputs)
    return kernel.reference(inputs, torch.float32)
