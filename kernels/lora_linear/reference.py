"""Shrink and expand in plain torch, one adapter at a time."""

from __future__ import annotations

import torch

from autotune.contract import Expected
from autotune.kernels.common.rounding import dot_product_error, storing_error
from autotune.kernels.lora_linear.launcher import LoraLinearArguments


def reference(arguments: LoraLinearArguments, start: torch.Tensor, dtype: torch.dtype) -> Expected:
    """Computes ``out[t, slice s] (+)= (scaling * x[t] @ a[s][..].T) @ b[s][..].T`` in `dtype`, from `start`
    ``[M, columns]``.

    README.md derives the bound.
    """
    shrink, expand = arguments.shrink, arguments.expand
    half, depth, rank = expand.out.dtype, shrink.x.shape[1], shrink.out.shape[2]
    value = start.to(dtype, copy=True)
    max_error = torch.zeros_like(value)
    mapping = shrink.metadata.token_lora_mapping
    for lora in set(mapping.tolist()):
        if lora < 0:
            continue
        tokens = (mapping == lora).nonzero().flatten()
        x = shrink.x[tokens].to(dtype)
        for a_weight, b_weight, first in zip(shrink.a, expand.b, expand.columns, strict=True):
            a, b = a_weight[lora].reshape(rank, depth).to(dtype), b_weight[lora].reshape(-1, rank).to(dtype)
            h = shrink.scaling * (x @ a.T)  # [tokens, R]
            h_error = dot_product_error(depth, abs(shrink.scaling) * (x.abs() @ a.abs().T), dtype)
            h_error += storing_error(h.abs() + h_error, half)
            columns = slice(first, first + b.shape[0])
            product = h @ b.T
            error = h_error @ b.abs().T + dot_product_error(rank, (h.abs() + h_error) @ b.abs().T, dtype)
            if expand.add_inputs:
                # vLLM rounds the product to the output type before it adds; ours rounds once, both are right.
                error += storing_error(product.abs() + error, half)
                product += value[tokens, columns]
            value[tokens, columns] = product
            max_error[tokens, columns] = error + storing_error(product.abs() + error, half)
    return Expected(value, max_error)
