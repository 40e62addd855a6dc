"""csgmv expand in plain torch, one adapter at a time."""

from __future__ import annotations

import itertools

import torch

from autotune.contract import Expected
from autotune.kernels.common.rounding import dot_product_error, storing_error
from autotune.kernels.csgmv_expand.launcher import CsgmvExpandArguments

_SCALING_UNIT = 2.0**-24
"""Relative error of the fp32 multiplication by the adapter's scaling."""


def reference(inputs: CsgmvExpandArguments, start: torch.Tensor, dtype: torch.dtype) -> Expected:
    """Computes ``out[t, slice s] += scaling * x[t, slice s] @ b[slot of t, slice s].T`` in `dtype`, from `start` ``[T,
    N]``.

    README.md derives the bound.
    """
    value = start.to(dtype, copy=True)
    max_error = torch.zeros_like(value)
    scalings = inputs.batch.scalings.tolist()
    for tokens, slot, rank in inputs.batch.by_adapter():
        scaling = scalings[slot]
        for s, (first, last) in enumerate(itertools.pairwise(inputs.slice_offsets)):
            x = inputs.x[tokens, s * rank : (s + 1) * rank].to(dtype)
            b = inputs.b[slot, first:last, :rank].to(dtype)
            product = scaling * (x @ b.T)
            error = dot_product_error(rank, abs(scaling) * (x.abs() @ b.abs().T), dtype)
            error += _SCALING_UNIT * (product.abs() + error)
            # Once for the product, as SGLang does it, and once for the sum.
            error += storing_error(product.abs() + error, inputs.out.dtype)
            product += value[tokens, first:last]
            value[tokens, first:last] = product
            max_error[tokens, first:last] = error + storing_error(product.abs() + error, inputs.out.dtype)
    return Expected(value, max_error)
