"""Which configs the two-kernel path can run, and which cannot win. Parameters are spelled as vLLM spells them."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.contract import Config, Gpu, Parameter
from autotune.kernels.common.tiles import Tile, cdiv, integers, next_pow2, powers_of_two
from autotune.kernels.fused_moe_lora.padding import padded_width
from autotune.kernels.fused_moe_lora.problem import BLOCK_MS, MoeProblem, MoeSide

NEUTRAL_GROUP = 8
SPACES = ("wide", "vllm-grid")

MOST_SPLITS = 16
"""Largest split_k of the spaces: more half-precision additions would leave a bound that tells nothing."""

_DEFAULT_STAGES = 3
_FULL_WAVES = 3
_FEW_STEPS = 8


def shrink_parameters(problem: MoeProblem, side: MoeSide, space: str) -> tuple[Parameter, ...]:
    """Returns the values of ``vllm-grid``: the grid of vLLM's tuner, without the splits that sum too often in half
    precision."""
    rank = next_pow2(side.shrunk(problem))
    if space == "vllm-grid":
        return _parameters(
            block_n=powers_of_two(min(32, max(16, rank)), 256),
            block_k=powers_of_two(32, 256),
            split_k=powers_of_two(4, MOST_SPLITS),
            **_VLLM_LAUNCH,
        )
    return _parameters(
        block_n=powers_of_two(16, min(256, rank)),
        block_k=powers_of_two(32, 256),
        split_k=powers_of_two(1, MOST_SPLITS),
        **_WIDE_LAUNCH,
    )


def expand_parameters(problem: MoeProblem, side: MoeSide, space: str) -> tuple[Parameter, ...]:
    if space == "vllm-grid":
        return _parameters(block_n=powers_of_two(32, 256), block_k=powers_of_two(16, 256), **_VLLM_LAUNCH)
    return _parameters(
        block_n=powers_of_two(16, min(256, next_pow2(side.width(problem)))),
        block_k=powers_of_two(16, min(256, next_pow2(problem.rank))),
        **_WIDE_LAUNCH,
    )


def shrink_canonical(problem: MoeProblem, side: MoeSide, config: Config) -> Config:
    """Columns are clipped to the rank; the order of tiles may not matter."""
    c, rank = integers(config), side.shrunk(problem)
    clipped = {**c, "block_n": min(max(16, c["block_n"]), max(16, next_pow2(rank)))}
    return {**clipped, "group_size_m": _group(problem, rank, clipped)}


def expand_canonical(problem: MoeProblem, side: MoeSide, config: Config) -> Config:
    """The depth is clipped to the rank; a single K step is no loop that stages could overlap."""
    c = integers(config)
    clipped = {**c, "block_k": min(c["block_k"], max(16, next_pow2(problem.rank)))}
    if clipped["block_k"] >= problem.rank:
        clipped["num_stages"] = _DEFAULT_STAGES
    return {**clipped, "group_size_m": _group(problem, side.width(problem), clipped)}


def shrink_infeasible(problem: MoeProblem, side: MoeSide, config: Config, gpu: Gpu) -> str | None:
    """Tells why a config should not be tried, or None."""
    c, depth, rank = integers(config), side.depth(problem), side.shrunk(problem)
    tile, split_k = _tile(c), c["split_k"]
    reason = tile.infeasible(BLOCK_MS[-1], rank, depth, gpu, split_k) or _idle_warps(tile)
    if reason := reason or rows_infeasible(problem, tile.m):
        return reason
    band = NEUTRAL_GROUP * split_k * cdiv(rank, tile.n)
    if reason := _needless_order(problem, side, c, band <= gpu.sms * tile.blocks_per_sm(gpu), gpu):
        return reason
    # One split is the only deterministic choice, so it is always allowed.
    return None if split_k == 1 else _useless_split(problem, side, tile, split_k, gpu)


def expand_infeasible(problem: MoeProblem, side: MoeSide, config: Config, gpu: Gpu) -> str | None:
    """Tells why a config should not be tried, or None."""
    c = integers(config)
    tile = _tile(c if c["block_k"] < problem.rank else {**c, "num_stages": 1})
    reason = tile.infeasible(BLOCK_MS[-1], side.width(problem), problem.rank, gpu) or _idle_warps(tile)
    band = NEUTRAL_GROUP * cdiv(side.width(problem), tile.n)
    at_once = band <= gpu.sms * tile.blocks_per_sm(gpu)
    return reason or rows_infeasible(problem, tile.m) or _needless_order(problem, side, c, at_once, gpu)


def shrink_cannot_run(k: int, config: Config, shared_bytes: int) -> str | None:
    """Tells why a server surely cannot launch a config, or None. The weights alone count: how x gets to it is not
    known.

    Args:
        k: Of the lookup: the rank, or its shard, to which columns are clipped.
    """
    c = integers(config)
    return _tile({**c, "block_n": min(c["block_n"], max(16, next_pow2(k)))}).cannot_run(shared_bytes)


def expand_cannot_run(k: int, config: Config, shared_bytes: int) -> str | None:
    """Tells the same as `shrink_cannot_run`; here the depth is clipped."""
    c = integers(config)
    return _tile({**c, "block_k": min(c["block_k"], max(16, next_pow2(k)))}).cannot_run(shared_bytes)


def rows_infeasible(problem: MoeProblem, block_m: int) -> str | None:
    """Tells why blocks of so many rows cannot win, or None.

    Larger blocks than a group has rows may win all the same: fewer of the grid's blocks are empty.
    """
    half = block_m // 2
    if half < BLOCK_MS[0] or _m_tiles(problem, half) > _m_tiles(problem, block_m):
        return None
    rows = 1 if problem.naive else problem.most_rows
    return None if rows > half else f"block_m {block_m}: as many blocks of {half} hold the {rows} rows of any expert"


def _m_tiles(problem: MoeProblem, block_m: int) -> int:
    """Counts the blocks of rows in the grid, for each adapter."""
    return problem.pairs if problem.naive else padded_width(problem.pairs, problem.all_experts, block_m) // block_m


def _tile(c: Mapping[str, int]) -> Tile:
    return Tile(c["block_m"], c["block_n"], c["block_k"], c["num_warps"], c["num_stages"], 2, 2)


def _idle_warps(tile: Tile) -> str | None:
    # One instruction of one warp makes 16 x 8 results. Warps beyond that repeat products, but still help to load.
    if tile.warps > 2 * (tile.m // 16) * (tile.n // 8):
        return f"num_warps {tile.warps}: a {tile.m} x {tile.n} tile has work for half of them at most"
    return None


def _group(problem: MoeProblem, columns: int, c: Mapping[str, int]) -> int:
    """The order of tiles matters only if several lie along both dimensions, in more than one band."""
    m_tiles, group = _m_tiles(problem, c["block_m"]), c["group_size_m"]
    alike = cdiv(columns, c["block_n"]) == 1 or m_tiles <= min(group, NEUTRAL_GROUP) or m_tiles == 1
    return NEUTRAL_GROUP if alike else group


def _needless_order(
    problem: MoeProblem, side: MoeSide, c: Mapping[str, int], band_at_once: bool, gpu: Gpu
) -> str | None:
    """The order of tiles cannot matter where a whole band runs at once, or all that is read twice fits in L2."""
    if c["group_size_m"] == NEUTRAL_GROUP:
        return None
    p = problem
    read = 2 * p.local_pairs * side.depth(p) + 2 * p.most_groups * side.slices(p) * p.rank * max(
        p.hidden, p.intermediate
    )
    if band_at_once or read <= gpu.l2_bytes:
        why = f"{gpu.name} runs a band of {NEUTRAL_GROUP} at once" if band_at_once else "rows and weights fit in L2"
        return f"group_size_m {c['group_size_m']}: {why}, the order of tiles cannot matter"
    return None


def _useless_split(problem: MoeProblem, side: MoeSide, tile: Tile, split_k: int, gpu: Gpu) -> str | None:
    """Tells why this many splits cannot win; half or twice as many would."""
    half, depth = split_k // 2, side.depth(problem)
    if tile.k * half >= depth:
        return f"split_k {split_k}: {half} splits already leave one K step to each block"
    columns = cdiv(side.shrunk(problem), tile.n) * side.slices(problem)
    rows = problem.local_pairs
    full = columns * (rows if problem.naive else rows // tile.m)
    if full * half >= _FULL_WAVES * gpu.sms * tile.blocks_per_sm(gpu):
        return f"split_k {split_k}: {half} splits already fill {gpu.name} {_FULL_WAVES} times"
    steps = cdiv(depth, tile.k * split_k)
    busy = columns * split_k * min(rows, problem.most_groups + rows // tile.m)
    if steps >= _FEW_STEPS and busy <= gpu.sms // 8:
        return f"split_k {split_k}: {busy} blocks of {steps} K steps leave most of {gpu.sms} SMs idle"
    return None


def _parameters(**values: tuple[int, ...]) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, choices) for name, choices in {"block_m": BLOCK_MS, **values}.items())


_WIDE_LAUNCH = {"group_size_m": (1, NEUTRAL_GROUP), "num_warps": (1, 2, 4, 8), "num_stages": (1, 2, 3, 4, 5)}
_VLLM_LAUNCH = {"group_size_m": (NEUTRAL_GROUP,), "num_warps": (4, 8), "num_stages": (2, 3, 4, 5)}
