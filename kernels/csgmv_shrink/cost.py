"""What a csgmv shrink launch is likely to cost."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.contract import Gpu
from autotune.kernels.common.cost import Work
from autotune.kernels.common.csgmv import CsgmvProblem
from autotune.kernels.common.tiles import Tile, cdiv


def estimate_us(problem: CsgmvProblem, k: int, c: Mapping[str, int], gpu: Gpu) -> float:
    p = problem
    chunks, empty = p.segments
    across = cdiv(p.num_slices * p.rank, c["BLOCK_N"])
    steps = cdiv(k, c["BLOCK_K"])
    tile = Tile(p.chunk_size, c["BLOCK_N"], c["BLOCK_K"], c["num_warps"], c["num_stages"] if steps > 1 else 1, 2, 2)
    return Work(tile, steps, chunks * across, empty * across, 2 * p.chunk_size * c["BLOCK_N"]).us(gpu)
