"""What a csgmv shrink launch is likely to cost."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.contract import Gpu
from autotune.kernels.common.cost import Work
from autotune.kernels.common.csgmv import CsgmvProblem
from autotune.kernels.common.tiles import Tile, cdiv
from autotune.kernels.csgmv_shrink.joining import joined, wanted
from autotune.kernels.csgmv_shrink.splitting import parts_of_k


def estimate_us(problem: CsgmvProblem, k: int, c: Mapping[str, int], gpu: Gpu) -> float:
    """Joined segments have two blocks, of which one mostly has no work; where an adapter ends, it has the steps as
    well."""
    p, batch = problem, problem.segmentation
    chunks, _ = p.segments
    across = cdiv(p.num_slices * p.rank, c["BLOCK_N"])
    taken = joined(batch, wanted(c), across)
    runs = min(chunks, cdiv(chunks, taken) + p.active_loras - 1)
    parts = parts_of_k(batch, k, across) if p.is_decode else 1
    rows, steps = p.chunk_size * taken, cdiv(k, parts * c["BLOCK_K"])
    tile = Tile(rows, c["BLOCK_N"], c["BLOCK_K"], c["num_warps"], c["num_stages"] if steps > 1 else 1, 2, 2)
    launched = batch.blocks if taken == 1 else 2 * cdiv(batch.segments, taken)
    idle = max(0, launched - runs)
    # A part is stored and loaded again, in fp32.
    out_bytes = rows * c["BLOCK_N"] * (2 if parts == 1 else 8)
    return Work(tile, steps, runs * across * parts, idle * across * parts, out_bytes).us(gpu)
