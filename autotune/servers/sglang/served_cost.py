"""Estimates the cost of a launch of SGLang's own csgmv expand, whose every access is of one element (contracts B8).

A rough figure that ranks configs before any is measured; its constants are common to all GPUs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.contract import Gpu

_LANES = 32
_REGISTERS_PER_SM = 65_536
_MAX_REGISTERS = 255
_WARPS_PER_SM = 64
_BLOCKS_PER_SM = 32
_SCHEDULERS = 4
_CYCLES_PER_US = 1700
_LATENCY = 800
"""Cycles from asking device memory for data to having it."""

_ACCESS_CYCLES = 8
"""Cycles of an SM for an element each of 32 lanes: address, mask and the move beside the access itself."""

_REGISTERS_PER_ELEMENT = 4
"""An output element takes its sum, what it is added to, and a 64-bit address."""

_OTHER_REGISTERS = 40
_WEIGHTS_A_LANE = 8
"""Neighbours along K that a lane loads one after the other, so that a warp touches that many more lines at once."""


@dataclass(frozen=True)
class ExpandWork:
    """The work of one launch.

    Attributes:
        chunk_size: Rows of a tile.
        rank: Depth of the product.
        widths: Columns of each slice.
        chunks: Segments that have tokens of an adapter.
    """

    chunk_size: int
    rank: int
    widths: Sequence[int]
    chunks: int

    def us(self, config: Mapping[str, int], gpu: Gpu) -> float:
        """Returns the microseconds of the launch: waves of blocks, each as long as its latencies or its accesses."""
        n, k, warps = config["BLOCK_N"], config["BLOCK_K"], config["num_warps"]
        wanted = _REGISTERS_PER_ELEMENT * self.chunk_size * n // (_LANES * warps) + _OTHER_REGISTERS
        registers = min(wanted, config.get("maxnreg", _MAX_REGISTERS))
        resident = max(
            1, min(_BLOCKS_PER_SM, _WARPS_PER_SM // warps, _REGISTERS_PER_SM // (registers * _LANES * warps))
        )
        blocks = self.chunks * sum(math.ceil(width / n) for width in self.widths)
        sharing = min(resident, max(1.0, blocks / gpu.sms))
        alone = max(1.0, _SCHEDULERS / warps)

        x = self.chunk_size * k / _LANES * max(_ACCESS_CYCLES, _LANES / k)
        weights = n * k / _LANES * max(_ACCESS_CYCLES, _LANES * _WEIGHTS_A_LANE / k)
        step = max(_LATENCY + alone * (x + weights), sharing * (x + weights))
        # Each element is read, added to and written; a spilled register is stored and loaded again.
        out = (2 * self.chunk_size * n / _LANES + 2 * warps * max(0, wanted - registers)) * _ACCESS_CYCLES
        block = 3 * _LATENCY + math.ceil(self.rank / k) * step + max(2 * _LATENCY + alone * out, sharing * out)
        waves = blocks / (gpu.sms * resident)
        # Blocks do not end all at once: a last wave that is not full counts as half.
        waves = (waves + math.ceil(waves)) / 2 if waves > 1 else 1.0
        return waves * block / _CYCLES_PER_US
