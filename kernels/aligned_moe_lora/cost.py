"""What a launch of the experts' kernel is likely to cost."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.contract import Gpu
from autotune.kernels.aligned_moe_lora.space import Product
from autotune.kernels.common.cost import Work
from autotune.kernels.common.tiles import cdiv


def estimate_us(product: Product, row_blocks: tuple[int, int], c: Mapping[str, int], gpu: Gpu) -> float:
    """Adds up both products: every thread block of a row block shrinks it all and expands its own columns.

    Args:
        row_blocks: Blocks of rows with work, and without, over all slices and adapters.
    """
    busy, idle = (count * c["column_blocks"] for count in row_blocks)
    tiles = cdiv(cdiv(product.n, c["block_n"]), c["column_blocks"])
    shrink = Work(
        product.shrink_tile(c), steps=cdiv(product.k, c["block_k"]), blocks=busy, idle_blocks=idle, out_bytes=0
    )
    expand = Work(
        product.expand_tile(c),
        steps=tiles,
        blocks=busy,
        idle_blocks=0,
        out_bytes=4 * c["block_m"] * c["block_n"] * tiles,
    )
    return shrink.us(gpu) + expand.us(gpu)
