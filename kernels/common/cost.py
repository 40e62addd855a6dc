"""What a launch is likely to cost: from the work of its thread blocks and the nature of GPUs alone.

A rough figure, off by a factor of two here and there, that ranks configs before any is measured. Every constant is from
vendors' documents or common to all GPUs; none is fitted to measurements of these kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from autotune.contract import Gpu
from autotune.kernels.common.tiles import (
    LANES,
    MAX_BLOCKS_PER_SM,
    MAX_REGISTERS,
    MAX_WARPS_PER_SM,
    REGISTERS_PER_SM,
    Tile,
)

_CYCLES_PER_US = 1700
_LAUNCH_US = 2.5
_LATENCY = 800
"""Cycles from asking device memory for data to having it."""

_BARRIER = 40
"""Cycles to bring the warps of a block together."""

_OTHER_REGISTERS = 40
"""Registers a thread spends on addresses, masks and counters."""

_RESERVED_SHARED_BYTES = 1024
_SHARED_BYTES_PER_CYCLE = 128
_FETCHED_BYTES_PER_CYCLE = 64
"""What one SM gets from L2."""

_LINE_BYTES = 128
_SPILL_BYTES = 8
"""A spilled register is stored and loaded again in every step."""

_TENSOR_FLOPS_PER_CYCLE = {8: 2048, 9: 4096, 10: 8192, 12: 2048}
"""Half-precision flops of an SM's tensor cores, dense, by major compute capability."""

_TENSOR_CORES = 4
_WARP_GROUP = (4, 64)
"""Warps and rows that Hopper's full tensor rate takes."""

_LONE_WARPS_RATE = 0.6
"""Share of that rate that the instructions of single warps reach."""


@dataclass(frozen=True)
class Work:
    """One launch.

    Attributes:
        tile: What a thread block does in one K step.
        steps: K steps of a block.
        blocks: Thread blocks that have work.
        idle_blocks: Thread blocks that find out they have none.
        out_bytes: What a block stores, and what it reads to add to; an atomic addition counts as both.
        held_registers: Registers of a thread that hold something else through the product.
        max_registers: The most a thread may have.
    """

    tile: Tile
    steps: int
    blocks: int
    idle_blocks: int
    out_bytes: int
    held_registers: int = 0
    max_registers: int = MAX_REGISTERS

    def us(self, gpu: Gpu) -> float:
        """Returns the microseconds of the launch: waves of blocks, each as long as what it has least of takes.

        A block waits for its first loads, goes through its steps, and stores. A step takes the latency that its stages
        do not hide, or what the SM's blocks together ask of its tensor cores, shared memory and path to L2.
        """
        resident = self._resident(gpu)
        sharing = min(resident, max(1.0, self.blocks / gpu.sms))
        tensor = self._tensor_cycles(gpu)
        alone = tensor * max(1.0, _TENSOR_CORES / self.tile.warps) + self._shared_cycles + _BARRIER
        ahead = self.tile.stages - 1
        waiting = max(alone, (_LATENCY + alone) / ahead) if ahead > 0 else _LATENCY + alone
        step = max(waiting, sharing * max(tensor, self._shared_cycles, self._fetch_cycles))
        store = sharing * self.out_bytes / _FETCHED_BYTES_PER_CYCLE
        # Indices, weights' addresses, the first loads if they run ahead, and the stores: one after the other.
        block = (4 if ahead > 0 else 3) * _LATENCY + self.steps * step + store
        waves = self.blocks / (gpu.sms * resident)
        # Blocks do not end all at once: a last wave that is not full counts as half.
        waves = (waves + math.ceil(waves)) / 2 if waves > 1 else 1.0
        idle = self.idle_blocks / (gpu.sms * resident)
        return (waves * block + idle * _LATENCY) / _CYCLES_PER_US + _LAUNCH_US

    @cached_property
    def _grouped(self) -> bool:
        """Whether warps work in groups that take their operands from shared memory (Hopper)."""
        warps, rows = _WARP_GROUP
        return self.tile.warps % warps == 0 and self.tile.m >= rows

    @cached_property
    def _warp_grid(self) -> tuple[int, int]:
        """Warps along the rows and along the columns of the tile."""
        rows = min(self.tile.warps, max(1, self.tile.m // 16))
        return rows, self.tile.warps // rows

    @cached_property
    def _registers(self) -> int:
        """What a thread would like: accumulators, operands on their way, and the rest."""
        t, (rows, columns) = self.tile, self._warp_grid
        staged = t.operands if t.stages == 1 else 0
        fragments = 0 if self._grouped else (t.m // rows + t.n // columns) // 2
        return max(LANES, t.accumulators + staged + fragments + self.held_registers + _OTHER_REGISTERS)

    def _resident(self, gpu: Gpu) -> int:
        """Returns how many blocks an SM holds at a time."""
        t = self.tile
        registers = min(self.max_registers, self._registers) * LANES * t.warps
        shared = min(max(1, t.stages - 1), self.steps) * self._step_bytes + _RESERVED_SHARED_BYTES
        by_space = min(REGISTERS_PER_SM // registers, gpu.shared_bytes // shared)
        return max(1, min(MAX_BLOCKS_PER_SM, MAX_WARPS_PER_SM // t.warps, by_space))

    @cached_property
    def _step_bytes(self) -> int:
        t = self.tile
        return (t.m * t.x_bytes + t.n * t.weight_bytes) * t.k

    @cached_property
    def _fetch_cycles(self) -> float:
        """A row of a tile that is shorter than a cache line costs a line."""
        t = self.tile
        x, weight = max(t.k * t.x_bytes, _LINE_BYTES), max(t.k * t.weight_bytes, _LINE_BYTES)
        return (t.m * x + t.n * weight) / _FETCHED_BYTES_PER_CYCLE

    @cached_property
    def _shared_cycles(self) -> float:
        """Operands are written once and read by each row or column of warps; spilled registers pass here, too."""
        t, (rows, columns) = self.tile, (1, 1) if self._grouped else self._warp_grid
        read = (t.m * t.x_bytes * columns + t.n * t.weight_bytes * rows) * t.k
        spilled = max(0, self._registers - self.max_registers) * _SPILL_BYTES * LANES * t.warps
        return (self._step_bytes + read + spilled) / _SHARED_BYTES_PER_CYCLE

    def _tensor_cycles(self, gpu: Gpu) -> float:
        t, (rows, columns) = self.tile, self._warp_grid
        repeated = max(1.0, rows * columns / max(1, (t.m // 16) * (t.n // 8)))
        major = gpu.capability[0]
        rate = _TENSOR_FLOPS_PER_CYCLE.get(major, min(_TENSOR_FLOPS_PER_CYCLE.values()))
        lone = _LONE_WARPS_RATE if major == 9 and not self._grouped else 1.0
        return 2 * t.m * t.n * t.k * repeated / (rate * lone)
