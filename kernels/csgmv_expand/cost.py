"""What a csgmv expand launch is likely to cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.contract import Gpu
from autotune.kernels.common.cost import Work
from autotune.kernels.common.csgmv import CsgmvProblem
from autotune.kernels.common.tiles import LANES, MAX_REGISTERS, Tile, cdiv
from autotune.kernels.csgmv_expand.walking import STEP_ROWS, is_one_step, step_rows, walk


def estimate_us(problem: CsgmvProblem, widths: Sequence[int], c: Mapping[str, int], gpu: Gpu) -> float:
    """The output to add to is held in registers, half an accumulator's worth, while the product is made."""
    p, batch = problem, problem.segmentation
    chunks, _ = p.segments
    across = sum(cdiv(width, c["BLOCK_N"]) for width in widths)
    if is_one_step(c, p.rank):
        block = walk(batch, across, c["num_warps"])
        if block is not None:
            busy, all_blocks = (cdiv(n, block.segments) * block.parts for n in (chunks, batch.segments))
            return _walking(p, c, (busy * across, (all_blocks - busy) * across), across).us(gpu)
    rows = step_rows(c, p.rank, p.chunk_size)
    steps, elements = cdiv(p.rank, c["BLOCK_K"]), rows * c["BLOCK_N"]
    tile = Tile(rows, c["BLOCK_N"], c["BLOCK_K"], c["num_warps"], c["num_stages"] if steps > 1 else 1, 2, 2)
    most = c.get("maxnreg", MAX_REGISTERS)
    empty = max(0, batch.blocks - chunks)
    return Work(tile, steps, chunks * across, empty * across, 4 * elements, _held(elements, c), most).us(gpu)


def _walking(p: CsgmvProblem, c: Mapping[str, int], blocks: tuple[int, int], across: int) -> Work:
    """Returns the work of blocks that walk: rows of one step after the other, of which the next are under way.

    Weights, which stay in shared memory, are read from there in each step; that they are fetched once is left out.

    Args:
        blocks: Those that have rows, and those that have none.
    """
    busy, idle = blocks
    steps = max(1, cdiv(p.tokens * across, busy * STEP_ROWS))
    tile = Tile(STEP_ROWS, c["BLOCK_N"], c["BLOCK_K"], c["num_warps"], 2, 2, 2)
    elements = STEP_ROWS * c["BLOCK_N"]
    most = c.get("maxnreg", MAX_REGISTERS)
    return Work(tile, steps, busy, idle, 4 * elements * steps, 2 * _held(elements, c), most)


def _held(elements: int, c: Mapping[str, int]) -> int:
    """Counts the registers of a thread that hold a tile of the output."""
    return 2 * elements // (4 * LANES * c["num_warps"])
