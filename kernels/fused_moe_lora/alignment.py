"""The alignment: pairs sorted by adapter and expert, each expert's run padded to whole blocks (contracts A6).

It runs on the device in torch operations that a CUDA graph can capture: nothing is read back, and every size follows
from the shapes. A layer computes it once, and its four ops must use the very block_m it was made with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autotune.kernels.fused_moe_lora.padding import padded_width
from autotune.kernels.fused_moe_lora.routing import Routing


@dataclass(frozen=True)
class Alignment:
    """Each adapter's pairs, expert by expert, in blocks of `block_m` rows.

    Attributes:
        sorted_ids: ``[L, W]`` int32, pairs; M * T (their number) where a row is padding. W is a multiple of block_m
            unless a server made it: then no row of the last block, which is not whole, is in use.
        expert_ids: ``[L, cdiv(W, block_m)]`` int32, each block's expert; -1 for none, and beyond the last block.
        num_tokens_post_padded: ``[L]`` int32, rows in use, padding included: a multiple of block_m.
        block_m: Rows of a block.
    """

    sorted_ids: torch.Tensor
    expert_ids: torch.Tensor
    num_tokens_post_padded: torch.Tensor
    block_m: int


def align(routing: Routing, block_m: int) -> Alignment:
    """Sorts and pads the pairs of a batch. Tokens without an adapter, or with a disabled one, are left out.

    Stable: pairs of a group keep their order, so the result is the same every time.
    """
    loras, experts, pairs = routing.max_loras, routing.num_experts, routing.pairs
    nowhere = loras * experts
    width = padded_width(pairs, routing.all_experts, block_m)
    device = routing.topk_ids.device
    if device.type == "meta":
        # Computing it on meta would load torch's own compiler: seconds, in every compile process.
        return _shaped(loras, width, block_m)

    group, pair = routing.groups().sort(stable=True)
    rows = torch.zeros(nowhere + 1, dtype=torch.int64, device=device).scatter_add_(0, group, torch.ones_like(group))
    padded = (rows[:nowhere] + block_m - 1).div(block_m, rounding_mode="floor").mul(block_m).view(loras, experts)
    ends = padded.cumsum(dim=1)  # [L, E]

    # A pair's place is where its group's padded run starts, and as far into it as into the group's unpadded run.
    lora_starts = width * torch.arange(loras, device=device)[:, None]
    shift = torch.zeros_like(rows)
    shift[:nowhere] = (lora_starts + ends - padded).view(-1)
    shift -= rows.cumsum(dim=0) - rows
    place = torch.arange(pairs, device=device) + shift[group]
    # Pairs that are left out go to one extra place, which is cut off.
    place = torch.where(group < nowhere, place, loras * width)
    sorted_ids = torch.full((loras * width + 1,), pairs, dtype=torch.int32, device=device)
    sorted_ids.scatter_(0, place, pair.int())

    block_starts = torch.arange(0, width, block_m, device=device).expand(loras, -1).contiguous()
    owner = torch.searchsorted(ends, block_starts, right=True)
    expert_ids = torch.where(owner < experts, owner, -1).int()
    return Alignment(sorted_ids[:-1].view(loras, width), expert_ids, ends[:, -1].int(), block_m)


def _shaped(loras: int, width: int, block_m: int) -> Alignment:
    """Returns an alignment of these shapes, without contents."""
    sorted_ids, expert_ids, ends = (
        torch.empty(shape, dtype=torch.int32, device="meta")
        for shape in ((loras, width), (loras, width // block_m), (loras,))
    )
    return Alignment(sorted_ids, expert_ids, ends, block_m)
