"""csgmv shrink in plain torch, one adapter at a time."""

from __future__ import annotations

import torch

from autotune.contract import Expected
from autotune.kernels.common.rounding import dot_product_error, storing_error
from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments


def reference(inputs: CsgmvShrinkArguments, untouched: torch.Tensor, dtype: torch.dtype) -> Expected:
    """Computes ``out[t, :S * r] = x[t] @ a[slot of t, :S * r].T`` in `dtype`; all else as in `untouched` ``[T, S *
    R]``.

    README.md derives the bound.
    """
    value = untouched.to(dtype, copy=True)
    max_error = torch.zeros_like(value)
    for tokens, slot, rank in inputs.batch.by_adapter():
        columns = inputs.num_slices * rank
        x, a = inputs.x[tokens].to(dtype), inputs.a[slot, :columns].to(dtype)
        product = x @ a.T
        error = dot_product_error(x.shape[1], x.abs() @ a.abs().T, dtype)
        value[tokens, :columns] = product
        max_error[tokens, :columns] = error + storing_error(product.abs() + error, inputs.out.dtype)
    return Expected(value, max_error)
