"""Which tiles a GPU cannot run, or cannot gain from. Every bound is a lower bound on what a config needs."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.contract import Config, Gpu

MAX_REGISTERS = 255
MAX_ELEMENTS = 1 << 20
"""The most that one tensor inside a Triton kernel may hold."""

REGISTERS_PER_SM = 65536
MAX_WARPS_PER_SM = 64
MAX_BLOCKS_PER_SM = 32
LANES = 32
_FEW_BLOCKS = 256
"""A launch has so many blocks without work through in less time than it takes to count tiles."""


def integers(config: Config) -> dict[str, int]:
    """Returns a config without the values left to the compiler."""
    return {name: value for name, value in config.items() if value is not None}


def next_pow2(size: int) -> int:
    return 1 << (size - 1).bit_length()


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


def powers_of_two(low: int, high: int) -> tuple[int, ...]:
    """Returns the powers of two from `low` to `high`, both included; just `low` if there is no other."""
    return tuple(1 << e for e in range(low.bit_length() - 1, max(low, high).bit_length()))


def row_tiles(m: int, max_loras: int, block_m: int) -> int:
    """Counts the tiles that m tokens of any mix of adapters can take: each adapter's tokens are tiled on their own."""
    adapters = min(m, max_loras)
    return adapters + (m - adapters) // block_m


@dataclass(frozen=True)
class RowGrid:
    """The tiles of rows of a launch, in two dimensions of its grid.

    Attributes:
        tiles: Tiles of each group of tokens; of all of them where they are counted.
        groups: Groups of tokens that have tiles of their own; 1 where tiles are counted.
        counted: Whether the kernel finds a tile's group by counting: groups share as many tiles as they can need.
    """

    tiles: int
    groups: int
    counted: bool

    @property
    def blocks(self) -> int:
        return self.tiles * self.groups


def row_grid(m: int, groups: int, max_loras: int, block_m: int, across: int) -> RowGrid:
    """Lays out the tiles of m tokens: counts them where most of the blocks would find no work.

    Counting takes every block that has work 0.1 to 0.3 us longer (measured on an H200).

    Args:
        groups: Groups of tokens that a launch must be ready for, those without an adapter among them.
        max_loras: Adapters that a launch can have.
        across: Blocks of one tile of rows.
    """
    each, counted = cdiv(m, block_m), row_tiles(m, min(groups, max_loras), block_m)
    idle = each * groups - counted
    if idle >= counted and idle * across >= _FEW_BLOCKS:
        return RowGrid(counted, 1, counted=True)
    return RowGrid(each, groups, counted=False)


@dataclass(frozen=True)
class Tile:
    """One thread block's work: ``[m, k] @ [k, n]`` steps with an fp32 accumulator ``[m, n]`` in registers."""

    m: int
    n: int
    k: int
    warps: int
    stages: int
    x_bytes: int
    weight_bytes: int

    @property
    def x_tile_bytes(self) -> int:
        return self.m * self.k * self.x_bytes

    @property
    def weight_tile_bytes(self) -> int:
        return self.k * self.n * self.weight_bytes

    @property
    def shared_bytes(self) -> int:
        """Least shared memory: `stages` - 1 buffers of both operands in flight, or one operand at a time."""
        return (self.x_tile_bytes + self.weight_tile_bytes) * (self.stages - 1) if self.stages > 1 else 0

    @property
    def accumulators(self) -> int:
        """Registers a thread spends on the accumulator."""
        return self.m * self.n // (LANES * self.warps)

    @property
    def operands(self) -> int:
        """32-bit words a thread moves for one K step."""
        return (self.m * self.x_bytes + self.n * self.weight_bytes) * self.k // (4 * LANES * self.warps)

    def blocks_per_sm(self, gpu: Gpu) -> int:
        """Returns the most thread blocks one SM can hold at a time."""
        by_registers = REGISTERS_PER_SM // (self.m * self.n)
        by_shared = gpu.shared_bytes // max(1, self.shared_bytes)
        return max(1, min(MAX_BLOCKS_PER_SM, MAX_WARPS_PER_SM // self.warps, by_registers, by_shared))

    def cannot_run(self, shared_bytes: int, in_flight_bytes: int = 0) -> str | None:
        """Tells why no kernel runs this tile with so much shared memory a block, or None.

        Tensor cores take the weights from there: a tile of them is in it, whether anything is loaded ahead or not.

        Args:
            in_flight_bytes: What is surely loaded ahead for each of the `stages` - 1 steps in flight.
        """
        largest = max(self.m * self.k, self.k * self.n, self.m * self.n)
        if largest > MAX_ELEMENTS:
            return f"has a tile of {largest} elements, Triton allows {MAX_ELEMENTS}"
        needed = max(self.weight_tile_bytes, in_flight_bytes * (self.stages - 1))
        if needed > shared_bytes:
            return f"needs {needed} bytes of shared memory or more, a block gets {shared_bytes}"
        return None

    def infeasible(self, m: int, n: int, k: int, gpu: Gpu, split_k: int = 1) -> str | None:
        """Tells why this tile should not be tried on a problem ``[m, k] @ [k, n]``, or None."""
        steps = cdiv(k, self.k * split_k)
        if self.m > max(16, next_pow2(m)):
            return f"block_m {self.m} is more than twice the {m} rows"
        if self.n > max(16, next_pow2(n)):
            return f"block_n {self.n} is more than twice the {n} columns"
        if self.k > max(16, next_pow2(k)):
            return f"block_k {self.k} is more than twice the depth {k}"
        if self.stages > max(2, steps + 1):
            return f"num_stages {self.stages}: there are only {steps} K steps to overlap"
        if self.accumulators > MAX_REGISTERS:
            return f"the accumulator alone needs {self.accumulators} registers a thread"
        if self.operands > MAX_REGISTERS + 1:
            return f"one K step moves {self.operands} registers' worth a thread"
        if self.shared_bytes > gpu.shared_bytes:
            return f"needs {self.shared_bytes} bytes of shared memory or more, {gpu.name} has {gpu.shared_bytes}"
        return None
