"""Which configs of the experts' kernel can run, and which cannot win."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune.contract import Gpu, Parameter
from autotune.kernels.common.tiles import MAX_REGISTERS, Tile, cdiv, next_pow2, powers_of_two

_MOST_COLUMN_BLOCKS = 16
_LEAST_TILE = 16


@dataclass(frozen=True)
class Product:
    """One product's sizes.

    Attributes:
        k: Columns of x.
        n: Columns of the output in a slice.
    """

    rank: int
    k: int
    n: int

    @property
    def block_r(self) -> int:
        return max(_LEAST_TILE, next_pow2(self.rank))

    def shrink_tile(self, c: Mapping[str, int]) -> Tile:
        return Tile(c["block_m"], self.block_r, c["block_k"], c["num_warps"], c["num_stages"], 2, 2)

    def expand_tile(self, c: Mapping[str, int]) -> Tile:
        return Tile(c["block_m"], c["block_n"], self.block_r, c["num_warps"], c["num_stages"], 2, 2)


def parameters(product: Product, block_m: int) -> tuple[Parameter, ...]:
    """Returns the values worth trying; block_m is the server's and has one."""
    values = {
        "block_m": (block_m,),
        "block_n": powers_of_two(min(32, next_pow2(product.n)), min(256, next_pow2(product.n))),
        "block_k": powers_of_two(min(32, next_pow2(product.k)), min(256, next_pow2(product.k))),
        "column_blocks": powers_of_two(1, _MOST_COLUMN_BLOCKS),
        "num_warps": (2, 4, 8),
        "num_stages": (1, 2, 3, 4),
    }
    return tuple(Parameter(name, tuple(max(1, v) for v in choices)) for name, choices in values.items())


def cannot_run(product: Product, c: Mapping[str, int], shared_bytes: int) -> str | None:
    """Tells why a config surely cannot run, or would keep what it sums up in slow memory; None if nothing is known."""
    for tile in (product.shrink_tile(c), product.expand_tile(c)):
        if why := tile.cannot_run(shared_bytes):
            return why
        if tile.accumulators > MAX_REGISTERS:
            return f"the accumulator alone needs {tile.accumulators} registers a thread"
    return None


def infeasible(product: Product, c: Mapping[str, int], gpu: Gpu) -> str | None:
    """Tells why a config should not be tried, or None."""
    tiles = cdiv(product.n, c["block_n"])
    if c["column_blocks"] > tiles:
        return f"column_blocks {c['column_blocks']}: there are only {tiles} blocks of columns to share out"
    steps = max(cdiv(product.k, c["block_k"]), cdiv(tiles, c["column_blocks"]))
    if c["num_stages"] > max(2, steps + 1):
        return f"num_stages {c['num_stages']}: there are only {steps} steps to overlap"
    for tile, n, k in (
        (product.shrink_tile(c), product.rank, product.k),
        (product.expand_tile(c), product.n, product.rank),
    ):
        # Stages are told above: one number serves both loops.
        lone = Tile(tile.m, tile.n, tile.k, tile.warps, 1, tile.x_bytes, tile.weight_bytes)
        if (why := lone.infeasible(tile.m, n, k, gpu)) or (why := tile.cannot_run(gpu.shared_bytes)):
            return why
        if tile.shared_bytes > gpu.shared_bytes:
            return f"needs {tile.shared_bytes} bytes of shared memory or more, {gpu.name} has {gpu.shared_bytes}"
    return None
