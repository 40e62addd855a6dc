"""What a csgmv shrink launch is likely to cost."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.contract import Gpu
from autotune.kernels.common.cost import Work
from autotune.kernels.common.csgmv import CsgmvProblem
from autotune.kernels.common.tiles import Tile, cdiv
from autotune.kernels.csgmv_shrink.joining import Segmentation, wanted


def estimate_us(problem: CsgmvProblem, k: int, c: Mapping[str, int], gpu: Gpu) -> float:
    """A block that has segments of several adapters goes through its steps for each: once more at each further
    adapter."""
    p = problem
    chunks, empty = p.segments
    across = cdiv(p.num_slices * p.rank, c["BLOCK_N"])
    joined = Segmentation(p.tokens, chunks + empty, p.chunk_size).joined(wanted(c), across)
    runs = min(chunks, cdiv(chunks, joined) + p.active_loras - 1)
    rows, steps = p.chunk_size * joined, cdiv(k, c["BLOCK_K"])
    tile = Tile(rows, c["BLOCK_N"], c["BLOCK_K"], c["num_warps"], c["num_stages"] if steps > 1 else 1, 2, 2)
    return Work(tile, steps, runs * across, cdiv(empty, joined) * across, 2 * rows * c["BLOCK_N"]).us(gpu)
