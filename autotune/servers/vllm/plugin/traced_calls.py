"""Tells what vLLM looks up for a call of one of its LoRA ops, by the call's arguments (contracts A1, A4, A6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autotune.servers.trace_line import Rows, SeenLookup
from autotune.servers.vllm import facts
from autotune.servers.vllm.moe_paths import naive
from autotune.servers.vllm.plugin import metadata, moe_call
from autotune.servers.vllm.plugin.trailing import with_defaults

_EXPAND_DEFAULTS = (0, False)
"""The first column, and whether it adds, where a call of ``lora_expand`` leaves them out."""

Details = tuple[tuple[str, int | tuple[int, ...]], ...]


@dataclass(frozen=True)
class TracedCall:
    """One lookup of a call.

    Attributes:
        m: Rows of the batch.
        weights: The first of the layer's.
        mapping: The first tensor of the op's metadata.
    """

    op: str
    dims: tuple[tuple[str, int], ...]
    details: Details
    m: int
    weights: torch.Tensor
    mapping: torch.Tensor

    def seen(self, server: str, release: str, rows: Rows, gpus: Details) -> SeenLookup:
        """Returns the lookup.

        Args:
            gpus: Over how many the server shares the layer out, as further details.
        """
        dtype = str(self.weights.dtype).removeprefix("torch.")
        return SeenLookup(server, release, self.op, self.dims, (*self.details, *gpus), dtype, rows)


def of_dense(arguments: Sequence[Any]) -> list[TracedCall]:
    """Reads the arguments of ``lora_shrink``, whose x is ``[M, K]``, or ``lora_expand``, whose x is ``[S, M, R]``."""
    x, weights, _, *rest = arguments
    mapping, ids = rest[metadata.MAPPING], rest[metadata.LORA_IDS]
    if bool(rest[metadata.NO_LORA].item()):
        return []
    if x.ndim == 2:
        return [_shrink(x.shape[0], weights, ids, mapping)]
    _, add_inputs = with_defaults(rest[metadata.COUNT :], _EXPAND_DEFAULTS)
    return [_expand(x.shape[1], weights, ids, mapping, bool(add_inputs), x.dtype)]


def of_pair(arguments: Sequence[Any]) -> list[TracedCall]:
    """Reads the arguments of the plug-in's own op: what the server looks up in its place."""
    _, x, a, b, *rest = arguments
    mapping, ids = rest[metadata.MAPPING], rest[metadata.LORA_IDS]
    if bool(rest[metadata.NO_LORA].item()):
        return []
    _, add_inputs = rest[metadata.COUNT :]
    m = x.shape[0]
    return [_shrink(m, a, ids, mapping), _expand(m, b, ids, mapping, bool(add_inputs), torch.float32)]


def of_experts(arguments: Sequence[Any]) -> list[TracedCall]:
    """Reads the arguments of ``fused_moe_lora``: A is ``[L, E, R, K]``, B is ``[L, E, N, R]``, y ``[M, top_k, N]``."""
    y, x, a, b, _, sorted_ids, _, _, mapping, _, top_k, *_ = arguments
    is_w2, fully_sharded, _, add_inputs = moe_call.last(arguments)
    m, max_loras, experts = y.shape[0], a[0].shape[0], max(a[0].shape[1], b[0].shape[1])
    hidden, width = (y.shape[-1], a[0].shape[-1]) if is_w2 else (x.shape[-1], b[0].shape[-2])
    sizes = {"max_loras": max_loras, "num_slices": len(a), "k": a[0].shape[-2], "n": hidden, "i": width}
    # Batches so small are sorted only where experts are spread over GPUs.
    spread = not fully_sharded and sorted_ids is not None and naive(m * top_k, experts, max_loras)
    details = {
        "num_experts": experts,
        "top_k_num": int(top_k),
        "fully_sharded": int(fully_sharded),
        "expand_add_inputs": int(add_inputs),
    }
    ops = (facts.W2_SHRINK, facts.W2_EXPAND) if is_w2 else (facts.W13_SHRINK, facts.W13_EXPAND)
    told = tuple({**details, **({"ep": 1} if spread else {})}.items())
    return [TracedCall(op, tuple(sizes.items()), told, m, a[0], mapping) for op in ops]


def _shrink(m: int, weights: Sequence[torch.Tensor], ids: torch.Tensor, mapping: torch.Tensor) -> TracedCall:
    rows, columns = weights[0].shape[-2:]
    return TracedCall("shrink", _dims(ids, weights, columns, rows), (), m, weights[0], mapping)


def _expand(
    m: int,
    weights: Sequence[torch.Tensor],
    ids: torch.Tensor,
    mapping: torch.Tensor,
    add_inputs: bool,
    x: torch.dtype,
) -> TracedCall:
    widths = tuple(weight.shape[-2] for weight in weights)
    dims = (*_dims(ids, weights, weights[0].shape[-1], max(widths)), ("add_inputs", int(add_inputs)))
    details: Details = (("slice_widths", widths), *(() if x == torch.float32 else (("half_inputs", 1),)))
    return TracedCall("expand", dims, details, m, weights[0], mapping)


def _dims(ids: torch.Tensor, weights: Sequence[torch.Tensor], k: int, n: int) -> tuple[tuple[str, int], ...]:
    return (("max_loras", ids.shape[0]), ("num_slices", len(weights)), ("k", k), ("n", n))
