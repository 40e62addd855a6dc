"""The operations in plain torch, one (adapter, expert) group at a time. README.md derives the bounds."""

from __future__ import annotations

import functools
import math

import torch

from autotune.contract import Config, Expected
from autotune.kernels.common.rounding import dot_product_error, storing_error
from autotune.kernels.common.tiles import integers
from autotune.kernels.fused_moe_lora.alignment import Alignment
from autotune.kernels.fused_moe_lora.expand import MoeExpandArguments
from autotune.kernels.fused_moe_lora.one_shot import MoeOneShotArguments
from autotune.kernels.fused_moe_lora.padding import padded_width
from autotune.kernels.fused_moe_lora.routing import Routing
from autotune.kernels.fused_moe_lora.shrink import MoeShrinkArguments

_DEVIATIONS = 8


def shrink_reference(inputs: MoeShrinkArguments, dtype: torch.dtype) -> Expected:
    """Computes ``out[s, t, j] = x[row] @ a[s][adapter of t, expert j of t].T`` in `dtype`; zero without an adapter."""
    value = torch.zeros_like(inputs.out, dtype=dtype).flatten(1, 2)  # [S, M * T, R]
    max_error, norm = torch.zeros_like(value), torch.zeros_like(value)
    depth = inputs.x.shape[1]
    for pairs, lora, expert in inputs.batch.routing.by_group():
        x = inputs.x[pairs // inputs.pairs_per_row].to(dtype)
        for s, weight in enumerate(inputs.a):
            a = weight[lora, expert].to(dtype)
            product = x @ a.T
            error = dot_product_error(depth, x.abs() @ a.abs().T, dtype)
            value[s, pairs] = product
            max_error[s, pairs] = error + storing_error(product.abs() + error, inputs.out.dtype)
            norm[s, pairs] = (x.square() @ a.square().T).sqrt()
    shape = inputs.out.shape
    splitting_error = functools.partial(_splitting_error, norm.view(shape), inputs.out.dtype)
    return Expected(value.view(shape), max_error.view(shape), splitting_error)


def expand_reference(inputs: MoeExpandArguments, start: torch.Tensor, dtype: torch.dtype) -> Expected:
    """Computes ``out[t, j, slice s] (+)= weight * x[s, t, j] @ b[s][adapter of t, expert j of t].T``, from `start`."""
    result = _Output(inputs, start, dtype, inputs.offset)
    x_rows = inputs.x.flatten(1, 2)  # [S, M * T, R]
    for pairs, lora, expert in inputs.batch.routing.by_group():
        for s, weight in enumerate(inputs.b):
            b = weight[lora, expert].to(dtype)
            x = x_rows[s, pairs].to(dtype)
            result.write(pairs, s, x @ b.T, dot_product_error(b.shape[1] + 1, x.abs() @ b.abs().T, dtype))
    return result.expected


def one_shot_reference(inputs: MoeOneShotArguments, start: torch.Tensor, dtype: torch.dtype) -> Expected:
    """Computes ``out[t, j, slice s] (+)= weight * (x[row] @ a[s][..].T) @ b[s][..].T``, from `start`."""
    result = _Output(inputs, start, dtype)
    routing = inputs.batch.routing
    per_row = routing.pairs // inputs.x.shape[0]
    half = inputs.x.dtype
    for pairs, lora, expert in routing.by_group():
        x = inputs.x[pairs // per_row].to(dtype)
        for s, (a_weight, b_weight) in enumerate(zip(inputs.a, inputs.b, strict=True)):
            a, b = a_weight[lora, expert].to(dtype), b_weight[lora, expert].to(dtype)
            h = x @ a.T  # [pairs, R]
            h_error = dot_product_error(a.shape[1], x.abs() @ a.abs().T, dtype)
            h_error += storing_error(h.abs() + h_error, half)
            error = h_error @ b.abs().T
            error += dot_product_error(b.shape[1] + 1, (h.abs() + h_error) @ b.abs().T, dtype)
            result.write(pairs, s, h @ b.T, error)
    return result.expected


def align_reference(routing: Routing, block_m: int) -> Alignment:
    """Builds the alignment, pair by pair."""
    width = padded_width(routing.pairs, routing.all_experts, block_m)
    experts, mapping, enabled = (t.tolist() for t in (routing.topk_ids, routing.token_lora_mapping, routing.enabled))
    sorted_ids, expert_ids, ends = [], [], []
    for lora in range(routing.max_loras):
        rows: list[int] = []
        owners: list[int] = []
        for expert in range(routing.num_experts):
            run = [
                token * routing.top_k + choice
                for token, chosen in enumerate(experts)
                for choice, e in enumerate(chosen)
                if e == expert and mapping[token] == lora and enabled[lora]
            ]
            run += [routing.pairs] * (-len(run) % block_m)
            rows += run
            owners += [expert] * (len(run) // block_m)
        sorted_ids.append(rows + [routing.pairs] * (width - len(rows)))
        expert_ids.append(owners + [-1] * (width // block_m - len(owners)))
        ends.append(len(rows))
    int32 = functools.partial(torch.tensor, dtype=torch.int32)
    return Alignment(int32(sorted_ids), int32(expert_ids), int32(ends), block_m)


class _Output:
    """Rows of an output as they are written, with their bounds."""

    def __init__(
        self, inputs: MoeExpandArguments | MoeOneShotArguments, start: torch.Tensor, dtype: torch.dtype, offset: int = 0
    ) -> None:
        self._inputs = inputs
        self._offset = offset
        self._value = start.to(dtype, copy=True).flatten(0, 1)  # [M * T, W]
        self._max_error = torch.zeros_like(self._value)

    def write(self, pairs: torch.Tensor, slice_id: int, product: torch.Tensor, error: torch.Tensor) -> None:
        """Weighs, then adds or overwrites ``[pairs, N]``; `error` has room for the weighting."""
        inputs, half = self._inputs, self._inputs.out.dtype
        first = self._offset + slice_id * product.shape[1]
        columns = slice(first, first + product.shape[1])
        if inputs.routed:
            weight = inputs.batch.routing.topk_weights.flatten()[pairs, None].to(product.dtype)
            product, error = product * weight, error * weight.abs()
        if inputs.add_inputs:
            # vLLM rounds the product to the output type before it adds; ours rounds once, both are right.
            error = error + storing_error(product.abs() + error, half)
            product = product + self._value[pairs, columns]
        self._value[pairs, columns] = product
        self._max_error[pairs, columns] = error + storing_error(product.abs() + error, half)

    @property
    def expected(self) -> Expected:
        shape = self._inputs.out.shape
        return Expected(self._value.view(shape), self._max_error.view(shape))


def _splitting_error(norm: torch.Tensor, half: torch.dtype, config: Config) -> torch.Tensor:
    """Bounds the rounding of the splits' sums to the output type, and of their additions, for random signs (README.md).

    Args:
        norm: Roots of the sums of the squares of the terms; 0 where nothing is added.
    """
    splits = integers(config)["split_k"]
    if splits == 1:
        return torch.zeros_like(norm)
    info = torch.finfo(half)
    roundings = math.sqrt(splits) + splits - 1
    underflow = splits * info.smallest_normal * info.eps / 2 * (norm > 0)
    # A few percent cover what roundings add to the sums they round: (1 + 2 ** -8) ** 17 < 1.07.
    return 1.07 * _DEVIATIONS * roundings * info.eps / 2 * norm + underflow
