"""Which configs of the pair can run, and which cannot win."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.contract import Gpu, Parameter
from autotune.kernels.common.sliced_problem import SlicedProblem
from autotune.kernels.common.tiles import (
    LANES,
    MAX_REGISTERS,
    Tile,
    cdiv,
    next_pow2,
    powers_of_two,
    row_tiles,
)

MOST_PART_BYTES = 1 << 16
"""What an expand program may have to sum: more takes longer to read than a launch costs."""

MOST_ROWS = 64
"""Rows of a block. Batches of more tokens have so many programs that those of one launch would wait in turns."""
_LEAST_DEPTH = 16
"""Columns of x that tensor cores take at a time, at least; each warp has columns of its own."""
_LONG_LOOP = 16


def parameters(problem: SlicedProblem) -> tuple[Parameter, ...]:
    values: dict[str, tuple[int, ...]] = {
        "block_m": powers_of_two(16, min(MOST_ROWS, next_pow2(problem.m))),
        "block_n": powers_of_two(32, min(256, next_pow2(problem.n))),
        "block_k": powers_of_two(64, 1024),
        "block_r": powers_of_two(16, min(64, next_pow2(problem.rank))),
        "split_k": powers_of_two(1, 64),
        "num_warps": (1, 2, 4, 8),
        "num_stages": (1, 2, 3, 4),
        "launches": (1, 2) if problem.m <= MOST_ROWS else (2,),
    }
    return tuple(Parameter(name, choices) for name, choices in values.items())


def infeasible(problem: SlicedProblem, c: Mapping[str, int], gpu: Gpu) -> str | None:
    """Tells why a config of the pair should not be tried, or None."""
    p, split_k, warps = problem, c["split_k"], c["num_warps"]
    depth = c["block_k"] // warps
    if depth < _LEAST_DEPTH:
        return f"block_k {c['block_k']}: {warps} warps have {depth} columns each, tensor cores take {_LEAST_DEPTH}"
    if reason := shrink_tile(c).infeasible(p.m, p.rank, p.k, gpu, split_k):
        return reason
    if split_k > 1 and c["block_k"] * split_k // 2 >= p.k:
        return f"split_k {split_k}: {split_k // 2} splits already leave one K step to each program"
    if (bytes_read := 4 * split_k * c["block_m"] * p.rank) > MOST_PART_BYTES:
        return f"split_k {split_k}: an expand program reads {bytes_read} bytes of parts, allowed: {MOST_PART_BYTES}"
    if c["block_n"] > max(32, next_pow2(p.n)):
        return f"block_n {c['block_n']} is more than twice the {p.n} columns"
    held = (c["block_m"] * (c["block_n"] + next_pow2(p.rank)) + c["block_n"] * next_pow2(p.rank) // 2) // LANES // warps
    if held > MAX_REGISTERS:
        return f"an expand program holds {held} registers' worth a thread"
    steps = cdiv(p.k, c["block_k"] * split_k)
    shrinks = row_tiles(p.m, p.max_loras, c["block_m"]) * p.num_slices * cdiv(p.rank, c["block_r"]) * split_k
    if steps >= _LONG_LOOP and shrinks <= gpu.sms // 4:
        return f"split_k {split_k}: {shrinks} programs of {steps} K steps leave most of {gpu.sms} SMs idle"
    return None


def shrink_tile(c: Mapping[str, int]) -> Tile:
    return Tile(c["block_m"], c["block_r"], c["block_k"], c["num_warps"], c["num_stages"], 2, 2)
