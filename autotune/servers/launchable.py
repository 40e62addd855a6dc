"""Tells whether the parameters of one entry can be launched at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BLOCKS = ("block_m", "block_n", "block_k", "block_r", "block_size_m", "block_size_n", "block_size_k")
_MOST = {"num_warps": 32, "num_ctas": 16, "launches": 2, "segments": 8}
"""Powers of two up to these: 1024 threads of a block; the thread blocks of a cluster, also where more than the portable
8 are allowed (CUDA C++ Programming Guide, thread block clusters); the launches of a pair; the segments of a block."""
_COUNTS = ("split_k", "column_blocks", "num_stages", "group_size_m", "maxnreg")


def unlaunchable(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Finds the parameters, in upper or lower case, with values that Triton cannot compile, and what it needs."""
    for name, value in config.items():
        low = name.lower()
        if low in _BLOCKS and not (_integer(value) and value >= 16 and _power_of_two(value)):
            yield name, f"got {value!r}, allowed: powers of two from 16"
        elif low in _MOST and not (_integer(value) and 1 <= value <= _MOST[low] and _power_of_two(value)):
            yield name, f"got {value!r}, allowed: powers of two to {_MOST[low]}"
        elif low in _COUNTS and not (value is None and low == "maxnreg") and not (_integer(value) and value >= 1):
            yield name, f"got {value!r}, allowed: positive integers"


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _power_of_two(value: int) -> bool:
    return value & (value - 1) == 0
