"""Rounding-error bounds after Higham, Accuracy and Stability of Numerical Algorithms (2002), chapter 3."""

from __future__ import annotations

import torch

TENSOR_CORE_UNIT = 2.0**-23
"""Relative error of one fp32 addition on tensor cores, which truncate instead of rounding to nearest."""

_MMA_DEPTH = 8
"""Smallest number of products one tensor-core instruction sums; each aligns the accumulator once more."""


def dot_product_error(terms: int, magnitude: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns the largest error of sums of `terms` exact products, accumulated in fp32 in any order.

    Args:
        terms: Length of the dot products.
        magnitude: Dot products of the absolute values.
        dtype: Type of the reference, whose own error is added if it is fp32 too.
    """
    additions = terms + -(-terms // _MMA_DEPTH) + 1
    if dtype == torch.float32:
        additions += terms
    drift = additions * TENSOR_CORE_UNIT
    return magnitude * (drift / (1 - drift))


def storing_error(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns the largest error of rounding values to nearest in `dtype`, gradual underflow included."""
    info = torch.finfo(dtype)
    return value.abs() * (info.eps / 2) + info.smallest_normal * info.eps / 2
