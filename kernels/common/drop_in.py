"""What the drop-ins of lora_shrink and lora_expand have in common: limits that both are proven in, metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import triton

from autotune.kernels.common.addresses import ALIGNMENT_BYTES
from autotune.kernels.common.metadata import LoraMetadata
from autotune.servers.vllm.facts import RANKS
from autotune.servers.vllm.plugin.drop_in import DenseCall

_DTYPES: Final = (torch.float16, torch.bfloat16)


def outside(call: DenseCall) -> str:
    """Tells what of a call, besides the weights, is outside the limits of both kernels; empty if nothing is."""
    m = call.x.shape[-2]
    mapping, order, tokens, start, ids = call.metadata[:5]
    if not (call.x.is_cuda or triton.knobs.runtime.interpret):
        return "tensors are on no CUDA GPU"
    if call.x.shape[-1] != call.weights[0].shape[-1]:
        return "weights and x do not fit"
    if not call.out.is_contiguous():
        return "the output is not contiguous"
    if not (m == mapping.numel() == order.numel()) or not (ids.numel() == tokens.numel() == start.numel() - 1):
        return "the metadata do not fit"
    return ""


def outside_of_weights(weights: Sequence[torch.Tensor], rank: int) -> str:
    """Tells what of the weights is outside the limits of both kernels; empty if nothing is."""
    first = weights[0]
    if first.dtype not in _DTYPES or any(each.dtype != first.dtype for each in weights):
        return f"weights are {first.dtype}"
    if rank > RANKS[-1]:
        return f"the rank is {rank}"
    if any(each.shape[-1] != first.shape[-1] or each.shape[0] != first.shape[0] for each in weights):
        return "slices differ in depth"
    if any(each.data_ptr() % ALIGNMENT_BYTES or not each.is_contiguous() for each in weights):
        return "weights are not contiguous, or start on odd addresses"
    return ""


def metadata(call: DenseCall) -> LoraMetadata:
    """Returns the call's metadata as our launchers take them."""
    mapping, order, tokens, start, ids = call.metadata[:5]
    return LoraMetadata(mapping, order, tokens, start, ids, launched_groups=call.groups)
