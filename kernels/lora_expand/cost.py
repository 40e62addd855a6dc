"""What an expand launch is likely to cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.contract import Gpu
from autotune.kernels.common.cost import Work
from autotune.kernels.common.problem import LoraProblem
from autotune.kernels.common.tiles import Tile, cdiv


def estimate_us(problem: LoraProblem, widths: Sequence[int], c: Mapping[str, int], gpu: Gpu) -> float:
    """Tiles beyond a slice's width, and beyond an adapter's last token, find that they have no work."""
    p = problem
    blocks = p.row_tiles(c["block_m"]) * sum(cdiv(width, c["block_n"]) for width in widths)
    launched = cdiv(p.m, c["block_m"]) * cdiv(p.n, c["block_n"]) * p.num_slices * (p.max_loras + 1)
    tile = Tile(c["block_m"], c["block_n"], c["block_k"], c["num_warps"], c["num_stages"], 4, 2)
    out_bytes = 4 * c["block_m"] * c["block_n"]
    return Work(tile, cdiv(p.k, c["block_k"]), blocks, launched - blocks, out_bytes).us(gpu)
