"""How many rows an alignment has room for."""

from __future__ import annotations

from autotune.kernels.common.tiles import cdiv


def padded_width(pairs: int, num_experts: int, block_m: int) -> int:
    """Returns the rows that any routing fits in: every expert may need padding, if there are enough pairs to hit
    all.

    Args:
        num_experts: Of all GPUs: the server has room for those of the others, too (contracts A6).
    """
    most = pairs * block_m if pairs < num_experts else pairs + num_experts * (block_m - 1)
    return cdiv(most, block_m) * block_m
