"""Shrink in plain torch, one adapter at a time."""

from __future__ import annotations

import torch

from autotune.contract import Expected
from autotune.kernels.common.rounding import dot_product_error
from autotune.kernels.lora_shrink.launcher import LoraShrinkArguments


def reference(inputs: LoraShrinkArguments, dtype: torch.dtype) -> Expected:
    """Computes ``out[s, t] = scaling * x[t] @ a[s][adapter of t].T`` in `dtype`; zero without an adapter.

    README.md derives the bound.
    """
    value = torch.zeros_like(inputs.out, dtype=dtype)  # [S, M, N]
    magnitude = torch.zeros_like(value)
    mapping = inputs.metadata.token_lora_mapping
    for lora in set(mapping.tolist()):
        if lora < 0:
            continue
        tokens = (mapping == lora).nonzero().flatten()
        x = inputs.x[tokens].to(dtype)
        for s, weight in enumerate(inputs.a):
            a = weight[lora].reshape(inputs.out.shape[2], x.shape[1]).to(dtype)
            value[s, tokens] = inputs.scaling * (x @ a.T)
            magnitude[s, tokens] = abs(inputs.scaling) * (x.abs() @ a.abs().T)
    return Expected(value, dot_product_error(inputs.x.shape[1], magnitude, dtype))
