"""Finds, inside a kernel, the rows that a tile of a pair has.

A batch that fits in one tile needs no sorted tokens: each group of tokens has a tile of all rows, and what other
adapters' rows come to is never stored. So x waits neither for the token list nor for the groups. The
tiles of a larger batch are counted through, as any mix of adapters can take them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from autotune.kernels.common.adapter_rows import adapter_rows


@triton.jit
def rows_of_tile(  # type: ignore[no-untyped-def]
    row_tile,
    M,
    token_lora_ptr,
    sorted_tokens_ptr,
    lora_tokens_ptr,
    lora_start_ptr,
    lora_ids_ptr,
    GROUPS: tl.constexpr,
    GROUP_BLOCK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """Returns a tile's adapter, -1 where it has no rows; its tokens, ``[BM]``; which of them exist; and which of them
    have the adapter.

    Args:
        row_tile: The tile's number; if WHOLE that of its group.
        M: Tokens that the launch is for; a replayed graph may have fewer.
    """
    if WHOLE:
        lora_id = tl.load(lora_ids_ptr + row_tile)
        token = tl.arange(0, BLOCK_M)
        exists = token < M
        groups = tl.arange(0, GROUP_BLOCK)
        # What the mapping holds beyond the batch is left from an earlier one.
        tokens = tl.sum(tl.load(lora_tokens_ptr + groups, mask=groups < GROUPS, other=0), 0)
        in_batch = exists & (token < tokens)
        has = in_batch & (tl.load(token_lora_ptr + token, mask=exists, other=-1) == lora_id)
        token = token.to(tl.int64)
    else:
        lora_id, first, end = adapter_rows(
            row_tile, 0, lora_tokens_ptr, lora_start_ptr, lora_ids_ptr, GROUPS, GROUP_BLOCK, BLOCK_M, COUNTED=True
        )
        row = first + tl.arange(0, BLOCK_M)
        has = row < end
        exists = has
        token = tl.load(sorted_tokens_ptr + row, mask=has, other=0).to(tl.int64)
    return lora_id, token, exists, has
