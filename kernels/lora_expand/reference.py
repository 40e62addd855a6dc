"""Expand in plain torch, one adapter at a time."""

from __future__ import annotations

import torch

from autotune.contract import Expected
from autotune.kernels.common.rounding import dot_product_error, storing_error
from autotune.kernels.lora_expand.launcher import LoraExpandArguments


def reference(inputs: LoraExpandArguments, start: torch.Tensor, dtype: torch.dtype) -> Expected:
    """Computes ``out[t, slice s] (+)= x[s, t] @ b[s][adapter of t].T`` in `dtype`, from `start` ``[M, columns]``.

    README.md derives the bound.
    """
    weight_dtype, rank = inputs.out.dtype, inputs.x.shape[2]
    value = start.to(dtype, copy=True)
    max_error = torch.zeros_like(value)
    mapping = inputs.metadata.token_lora_mapping
    for lora in set(mapping.tolist()):
        if lora < 0:
            continue
        tokens = (mapping == lora).nonzero().flatten()
        for s, (weight, first) in enumerate(zip(inputs.b, inputs.columns, strict=True)):
            b = weight[lora].reshape(-1, rank).to(dtype)  # [N_s, R]
            x = inputs.x[s, tokens].to(weight_dtype).to(dtype)  # [tokens, R]
            columns = slice(first, first + b.shape[0])
            product = x @ b.T
            error = dot_product_error(rank, x.abs() @ b.abs().T, dtype)
            if inputs.add_inputs:
                # vLLM rounds the product to the output type before it adds; ours rounds once, both are right.
                error += storing_error(product.abs() + error, weight_dtype)
                product += value[tokens, columns]
            value[tokens, columns] = product
            max_error[tokens, columns] = error + storing_error(product.abs() + error, weight_dtype)
    return Expected(value, max_error)
