"""What a kernel of ours in the place of vLLM's ``fused_moe_lora`` takes of a call: its limits, and its arguments.

Rows are those that the server has aligned, with its block_m.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
import triton

from autotune.kernels.common.addresses import ALIGNMENT_BYTES, address_table
from autotune.kernels.common.tiles import cdiv
from autotune.kernels.fused_moe_lora.alignment import Alignment
from autotune.kernels.fused_moe_lora.blocks import Batch
from autotune.kernels.fused_moe_lora.one_shot import MoeOneShotArguments
from autotune.kernels.fused_moe_lora.problem import BLOCK_MS
from autotune.kernels.fused_moe_lora.routing import Routing
from autotune.servers.vllm import facts
from autotune.servers.vllm.moe_paths import naive, small_batch
from autotune.servers.vllm.plugin.drop_in import DropIn
from autotune.servers.vllm.plugin.moe_call import MoeCall

Tables = tuple[torch.Tensor, torch.Tensor] | None

_HALF: Final = (torch.float16, torch.bfloat16)
_INTEGERS: Final = (torch.int32, torch.int64)


class FusedMoeDropIn(DropIn[MoeCall, MoeOneShotArguments]):
    """Ranks that stay in registers, whole on each GPU; gate and up in two weights or in one (contracts A6)."""

    name = facts.MOE_GROUP

    def call(self, arguments: Sequence[Any]) -> MoeCall:
        return MoeCall.of(arguments)

    def leaves(self, call: MoeCall) -> bool:
        """Few pairs of a small rank have a kernel of their own."""
        return small_batch(call.rank, call.pairs, call.naive and not call.fully_sharded)

    def outside(self, call: MoeCall) -> str:
        if call.fully_sharded or call.offset:
            return "layers are fully sharded"
        if call.rank > facts.ONE_SHOT_RANKS:
            return f"the rank is {call.rank}"
        if not (call.x.is_cuda or triton.knobs.runtime.interpret):
            return "tensors are on no CUDA GPU"
        return _outside_of_activations(call) or _outside_of_batch(call)

    def outside_of_weights(self, call: MoeCall) -> str:
        a, b = call.a, call.b
        if len(a) != len(b) or not all(_is_pool(each, like=side[0]) for side in (a, b) for each in side):
            return "weights differ in type or size, or their matrices are not whole"
        if a[0].dtype not in _HALF or a[0].dtype != b[0].dtype:
            return f"weights are {a[0].dtype} and {b[0].dtype}"
        if a[0].shape[:2] != b[0].shape[:2] or not a[0].shape[2] == b[0].shape[3] == call.rank:
            return "A and B do not fit"
        return ""

    def table(self, call: MoeCall) -> Tables:
        return (address_table(call.a), address_table(call.b)) if len(call.a) > 1 else None

    def arguments(self, call: MoeCall, table: Tables) -> MoeOneShotArguments:
        batch = _batch(call)
        return MoeOneShotArguments(
            call.x, list(call.a), list(call.b), call.out, batch, call.add_inputs, call.routed, table
        )

    def to_compile(self, call: MoeCall, m: int) -> Iterator[MoeCall]:
        """Yields naive pairs where they may be so, and sorted ones with each block_m that a server may have."""
        loras, experts = call.a[0].shape[:2]
        few = naive(m * call.top_k, experts, loras)
        for block_m in (*([None] if few else []), *BLOCK_MS):
            found = call.on_meta(m, block_m)
            if not self.leaves(found):
                yield found


def _is_pool(weight: torch.Tensor, like: torch.Tensor) -> bool:
    """Tells whether a weight is a pool of whole matrices, of the first one's type and size."""
    whole = weight.ndim == 4 and weight.stride(3) == 1 and weight.stride(2) == weight.shape[3]
    same = weight.dtype == like.dtype and weight.shape == like.shape and weight.stride() == like.stride()
    return whole and same and weight.data_ptr() % ALIGNMENT_BYTES == 0


def _outside_of_activations(call: MoeCall) -> str:
    x, out, a, b = call.x, call.out, call.a[0], call.b[0]
    if not x.dtype == out.dtype == a.dtype:
        return f"x is {x.dtype}, the output {out.dtype}"
    if not (x.is_contiguous() and out.is_contiguous()):
        return "x or the output is not contiguous"
    rows = call.pairs if call.routed else call.topk_weights.shape[0]
    if x.shape != (rows, a.shape[3]):
        return "weights and x do not fit"
    if out.shape != (*call.topk_weights.shape, len(call.b) * b.shape[2]):
        return "the output does not fit"
    return ""


def _outside_of_batch(call: MoeCall) -> str:
    rows, weights = call.rows, call.topk_weights
    loras = call.a[0].shape[0]
    tables = [call.mapping, call.lora_ids, call.enabled, rows.expert_ids]
    if not weights.is_contiguous() or weights.dtype != torch.float32:
        return f"routing weights are {weights.dtype}, or not contiguous"
    if call.mapping.numel() < weights.shape[0] or call.enabled.numel() < loras:
        return "the metadata do not fit"
    if rows.sorted_ids is None or rows.post_padded is None:
        if rows.expert_ids.dtype != torch.int32:  # Triton compiles the kernel for no others
            return f"pairs are not sorted and their experts are {rows.expert_ids.dtype}"
        fits = rows.expert_ids.shape == (call.pairs,)
    else:
        if rows.block_m not in BLOCK_MS:
            return f"pairs are aligned to {rows.block_m} rows"
        tables += [rows.sorted_ids, rows.post_padded]
        width = rows.sorted_ids.shape[1]
        shapes = (rows.sorted_ids.shape[0], *rows.expert_ids.shape, *rows.post_padded.shape, call.lora_ids.numel())
        fits = shapes[:-1] == (loras, loras, cdiv(width, rows.block_m), loras) and shapes[-1] >= call.groups
    if not fits or any(each.dtype not in _INTEGERS or not each.is_contiguous() for each in tables):
        return "the rows do not fit"
    return ""


def _batch(call: MoeCall) -> Batch:
    """Returns the batch as our launcher takes it; of sorted pairs it does not know whose each token is."""
    rows, (m, top_k) = call.rows, call.topk_weights.shape
    if rows.sorted_ids is None or rows.post_padded is None:
        return Batch(_routing(call, rows.expert_ids.view(m, top_k)), naive=True)
    alignment = Alignment(rows.sorted_ids, rows.expert_ids, rows.post_padded, rows.block_m)
    return Batch.of_aligned(_routing(call, torch.empty(m, top_k, device="meta")), alignment, call.groups)


def _routing(call: MoeCall, topk_ids: torch.Tensor) -> Routing:
    experts = call.a[0].shape[1]
    return Routing(topk_ids, call.topk_weights, call.mapping, call.lora_ids, call.enabled, experts)
