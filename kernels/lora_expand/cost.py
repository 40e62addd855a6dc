"""What an expand launch is likely to cost."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.contract import Gpu
from autotune.kernels.common.cost import Work
from autotune.kernels.common.tiles import Tile, cdiv, row_grid
from autotune.kernels.lora_expand.problem import LoraExpandProblem


def blocks_launched(problem: LoraExpandProblem, c: Mapping[str, int]) -> int:
    """Counts the blocks of our grid, which has tiles of each slice's own columns."""
    across = _column_tiles(problem, c)
    return row_grid(problem.m, problem.max_loras + 1, problem.max_loras, c["block_m"], across).blocks * across


def launch_us(problem: LoraExpandProblem, c: Mapping[str, int], gpu: Gpu, launched: int) -> float:
    """Tiles beyond an adapter's last token, and beyond a slice's width, find that they have no work."""
    p = problem
    blocks = p.row_tiles(c["block_m"]) * _column_tiles(p, c)
    tile = Tile(c["block_m"], c["block_n"], c["block_k"], c["num_warps"], c["num_stages"], 4, 2)
    out_bytes = 4 * c["block_m"] * c["block_n"]
    return Work(tile, cdiv(p.k, c["block_k"]), blocks, launched - blocks, out_bytes).us(gpu)


def _column_tiles(problem: LoraExpandProblem, c: Mapping[str, int]) -> int:
    return sum(cdiv(width, c["block_n"]) for width in problem.slice_widths)
