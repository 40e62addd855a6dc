"""What a shrink launch is likely to cost."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.contract import Gpu
from autotune.kernels.common.cost import Work
from autotune.kernels.common.tiles import Tile, cdiv, row_grid
from autotune.kernels.lora_shrink.problem import LoraShrinkProblem


def blocks_launched(problem: LoraShrinkProblem, c: Mapping[str, int]) -> int:
    """Counts the blocks of our grid."""
    across = problem.column_tiles(c["block_n"]) * c["split_k"]
    return row_grid(problem.m, problem.max_loras + 1, problem.max_loras, c["block_m"], across).blocks * across


def launch_us(problem: LoraShrinkProblem, c: Mapping[str, int], gpu: Gpu, launched: int) -> float:
    """Splits beyond the last K step, and tiles beyond an adapter's last token, find that they have no work."""
    p, split_k = problem, c["split_k"]
    across = p.column_tiles(c["block_n"])
    splits = min(split_k, cdiv(p.k, c["block_k"]))
    blocks = p.row_tiles(c["block_m"]) * across * splits
    out_bytes = 4 * c["block_m"] * c["block_n"] * (1 if splits == 1 else 2)
    tile = Tile(c["block_m"], c["block_n"], c["block_k"], c["num_warps"], c["num_stages"], 2, 2)
    return Work(tile, cdiv(p.k, c["block_k"] * split_k), blocks, launched - blocks, out_bytes).us(gpu)
