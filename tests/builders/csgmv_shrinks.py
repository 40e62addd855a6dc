"""Small shrinks whose adapters have other ranks than the pool, and what they must write."""

from __future__ import annotations

from typing import Any

import torch

from autotune.kernels.csgmv_shrink.launcher import CsgmvShrinkArguments
from tests.builders.csgmv_batches import MAX_RANK, SLOTS, batch, dot_bound, rounding

K = 72


def shrink_arguments(
    device: str,
    slices: int = 2,
    dtype: torch.dtype = torch.float16,
    slots: list[int] = SLOTS,
    k: int = K,
    **of_batch: Any,
) -> CsgmvShrinkArguments:
    """Weights of ranks that an adapter does not have are NaN, and so is the output."""
    torch.manual_seed(0)
    made = batch(device, slots, **of_batch)
    ranks = made.lora_ranks.tolist()
    x = torch.randn(len(slots), k, dtype=dtype, device=device)
    a = torch.randn(len(ranks), slices * MAX_RANK, k, dtype=dtype, device=device)
    for slot, rank in enumerate(ranks):
        a[slot, slices * rank :] = torch.nan
    out = torch.full((len(slots), slices * MAX_RANK), torch.nan, dtype=dtype, device=device)
    return CsgmvShrinkArguments(x, a, out, made, slices)


def assert_right(arguments: CsgmvShrinkArguments, slots: list[int] = SLOTS) -> None:
    """Each token's columns within the bound of README.md, all others as they were: NaN."""
    ranks = arguments.batch.lora_ranks.tolist()
    for t, slot in enumerate(slots):
        columns = arguments.num_slices * ranks[slot]
        x, a = arguments.x[t].double(), arguments.a[slot, :columns].double()
        right = a @ x
        bound = dot_bound(x.numel(), a.abs() @ x.abs())
        error = (arguments.out[t, :columns].double() - right).abs()
        assert bool((error <= bound + rounding(right.abs() + bound, arguments.out.dtype)).all()), t
        assert arguments.out[t, columns:].isnan().all(), t
