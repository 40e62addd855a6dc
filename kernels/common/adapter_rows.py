"""Finds, inside a kernel, the rows that a tile of a launch has: each adapter's tokens are tiled on their own.

A launch either has as many tiles for each adapter as all tokens would take, or as many in all as any mix of adapters
can take, which the kernel then counts through (`autotune.kernels.common.tiles.row_grid` says which).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def adapter_rows(  # type: ignore[no-untyped-def]
    row_tile,
    group,
    tokens_ptr,
    start_ptr,
    ids_ptr,
    GROUPS: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    COUNTED: tl.constexpr,
):
    """Returns a tile's adapter, its first row among the sorted tokens, and its adapter's end.

    A tile without rows has the adapter -1, or begins at its end or beyond.

    Args:
        row_tile: The tile's number: within its group, or if COUNTED among all that have tokens.
        group: The tile's group of tokens; not read if COUNTED.
        tokens_ptr: Tokens of each group, ``[GROUPS]``.
        start_ptr: Where each group starts, ``[GROUPS]``.
        ids_ptr: Adapter of each group, ``[GROUPS]``, -1 for tokens without one.
        GROUP_BLOCK: Power of two, at least GROUPS.
    """
    if COUNTED:
        groups = tl.arange(0, GROUP_BLOCK)
        in_groups = groups < GROUPS
        ids = tl.load(ids_ptr + groups, mask=in_groups, other=-1)
        tokens = tl.load(tokens_ptr + groups, mask=in_groups, other=0)
        starts = tl.load(start_ptr + groups, mask=in_groups, other=0)
        tiles = tl.where(ids >= 0, (tokens + BLOCK_M - 1) // BLOCK_M, 0)
        last = tl.cumsum(tiles, 0)
        mine = (row_tile < last) & (row_tile >= last - tiles)
        lora_id = tl.max(tl.where(mine, ids, -1), 0)
        first = tl.sum(tl.where(mine, starts + (row_tile - last + tiles) * BLOCK_M, 0), 0)
        end = tl.sum(tl.where(mine, starts + tokens, 0), 0)
    else:
        lora_id = tl.load(ids_ptr + group)
        start = tl.load(start_ptr + group)
        end = start + tl.load(tokens_ptr + group)
        first = start + row_tile * BLOCK_M
    return lora_id, first, end
