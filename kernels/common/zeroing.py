"""Zeroes what a launch adds to, by a launch of our own.

torch's ``zero_`` is no dependent launch: it is brought up once the launch ahead has ended, and so is what follows it.
A shrink of few tokens, which takes 1.6 to 2.2 us itself, then waits 0.7 us longer (measured on an H200).
"""

from __future__ import annotations

from typing import Final

import torch
import triton
import triton.language as tl

from autotune.contract import Launch
from autotune.kernels.common.dependent_launch import dependent_launch, wait_for_launch_ahead
from autotune.kernels.common.tiles import cdiv

_BLOCK: Final = 512
"""Elements of a block. More take longer, whatever the size (measured on an H200: 512 to 8192 of them)."""

_WARPS: Final = 4

_MOST_DEPENDENT: Final = 1 << 19
"""Elements of the largest dependent launch. Of more, blocks that wait take the room of those that they wait for
(likewise: 1.6 million make a shrink take 44 us instead of 42)."""


@triton.jit(do_not_specialize=["size"])  # batches of any size share a compiled kernel
def zero_kernel(  # type: ignore[no-untyped-def]
    out_ptr,
    size,
    BLOCK: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    if DEPENDENT:
        wait_for_launch_ahead()
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + places, tl.zeros([BLOCK], dtype=out_ptr.dtype.element_ty), mask=places < size)


def zeroing(out: torch.Tensor) -> Launch:
    """Returns the launch that zeroes `out`, which is contiguous."""
    size = out.numel()
    dependent = dependent_launch() if size <= _MOST_DEPENDENT else {"DEPENDENT": False}
    options = {"BLOCK": _BLOCK, "num_warps": _WARPS, **dependent}
    return Launch(zero_kernel, (cdiv(size, _BLOCK),), (out, size), options)
