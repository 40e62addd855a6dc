"""What a csgmv expand launch is likely to cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.contract import Gpu
from autotune.kernels.common.cost import Work
from autotune.kernels.common.csgmv import CsgmvProblem
from autotune.kernels.common.tiles import LANES, MAX_REGISTERS, Tile, cdiv
from autotune.kernels.csgmv_expand.walking import step_rows


def estimate_us(problem: CsgmvProblem, widths: Sequence[int], c: Mapping[str, int], gpu: Gpu) -> float:
    """The output to add to is held in registers, half an accumulator's worth, while the product is made."""
    p = problem
    chunks, empty = p.segments
    across = sum(cdiv(width, c["BLOCK_N"]) for width in widths)
    steps, rows = cdiv(p.rank, c["BLOCK_K"]), step_rows(c, p.rank, p.chunk_size)
    if rows < p.chunk_size:
        chunks = max(chunks, cdiv(p.tokens, rows))
    tile = Tile(rows, c["BLOCK_N"], c["BLOCK_K"], c["num_warps"], c["num_stages"] if steps > 1 else 1, 2, 2)
    elements = rows * c["BLOCK_N"]
    held = 2 * elements // (4 * LANES * c["num_warps"])
    most = c.get("maxnreg", MAX_REGISTERS)
    return Work(tile, steps, chunks * across, empty * across, 4 * elements, held, most).us(gpu)
