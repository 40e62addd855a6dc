"""What a launch of the pair, or of shrink and expand apart, is likely to cost."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.contract import Gpu
from autotune.kernels.common.cost import Work
from autotune.kernels.common.sliced_problem import SlicedProblem
from autotune.kernels.common.tiles import Tile, cdiv, next_pow2, row_tiles
from autotune.kernels.lora_linear.space import shrink_tile

_APART = {
    "block_m": 16,
    "block_n": 128,
    "block_k": 128,
    "block_r": 16,
    "split_k": 32,
    "num_warps": 4,
    "num_stages": 2,
    "launches": 2,
}
_ZEROING_US = 1.5
_SECOND_LAUNCH_US = 0.5


def estimate_us(problem: SlicedProblem, c: Mapping[str, int], gpu: Gpu) -> float:
    """Adds up both kinds of programs: an expand program cannot end before the last part is there."""
    if c["block_m"] == 0:
        return estimate_us(problem, _APART, gpu) + _ZEROING_US
    p, rank = problem, max(16, next_pow2(problem.rank))
    live, launched = p.row_tiles(c["block_m"]), row_tiles(p.m, p.max_loras, c["block_m"])
    shrinks = p.num_slices * cdiv(p.rank, c["block_r"]) * c["split_k"]
    expands = sum(cdiv(width, c["block_n"]) for width in p.slice_widths)
    idle = (launched - live) * (shrinks + expands)
    shrink = Work(
        shrink_tile(c),
        steps=cdiv(p.k, c["block_k"] * c["split_k"]),
        blocks=live * shrinks,
        idle_blocks=idle,
        out_bytes=4 * c["block_m"] * c["block_r"],
    )
    expand = Work(
        Tile(c["block_m"], c["block_n"], rank, c["num_warps"], 1, 4, 2),
        steps=1,
        blocks=live * expands,
        idle_blocks=0,
        out_bytes=4 * c["block_m"] * (c["block_n"] + c["split_k"] * p.rank),
    )
    return shrink.us(gpu) + expand.us(gpu) + _SECOND_LAUNCH_US * (c["launches"] - 1)
