"""What the drop-ins of lora_shrink and lora_expand have in common: limits that both are proven in, metadata."""

from __future__ import annotations

from typing import Final

import torch
import triton

from autotune.kernels.common.addresses import ALIGNMENT_BYTES
from autotune.kernels.common.metadata import LoraMetadata
from autotune.servers.vllm.facts import RANKS
from autotune.servers.vllm.plugin.drop_in import DenseCall

_DTYPES: Final = (torch.float16, torch.bfloat16)


def outside(call: DenseCall, rank: int, depth: int) -> str:
    """Tells what of a call is outside the limits of both kernels; empty if nothing is.

    Args:
        depth: Elements in a row of x and of each weight.
    """
    weight, m = call.weights[0], call.x.shape[-2]
    mapping, order, tokens, start, ids = call.metadata[:5]
    if not (call.x.is_cuda or triton.knobs.runtime.interpret):
        return "tensors are on no CUDA GPU"
    if weight.dtype not in _DTYPES or any(each.dtype != weight.dtype for each in call.weights):
        return f"weights are {weight.dtype}"
    if rank > RANKS[-1]:
        return f"the rank is {rank}"
    if any(each.shape[-1] != depth or each.data_ptr() % ALIGNMENT_BYTES for each in call.weights):
        return "weights and x do not fit, or start on odd addresses"
    if not all(each.is_contiguous() for each in (*call.weights, call.out)):
        return "weights or output are not contiguous"
    if not (m == mapping.numel() == order.numel()) or not (ids.numel() == tokens.numel() == start.numel() - 1):
        return "the metadata do not fit"
    return ""


def metadata(call: DenseCall) -> LoraMetadata:
    """Returns the call's metadata as our launchers take them."""
    mapping, order, tokens, start, ids = call.metadata[:5]
    return LoraMetadata(mapping, order, tokens, start, ids, launched_groups=call.groups)
