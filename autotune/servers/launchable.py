"""Tells whether the parameters of one entry can be launched at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BLOCKS = ("block_m", "block_n", "block_k", "block_r", "block_size_m", "block_size_n", "block_size_k")
_MOST_WARPS = 32
_COUNTS = ("split_k", "column_blocks", "num_stages", "num_ctas", "group_size_m", "maxnreg")


def unlaunchable(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Finds the parameters, in upper or lower case, with values that Triton cannot compile, and what it needs."""
    for name, value in config.items():
        low = name.lower()
        if low in _BLOCKS and not (_integer(value) and value >= 16 and _power_of_two(value)):
            yield name, f"got {value!r}, allowed: powers of two from 16"
        elif low == "num_warps" and not (_integer(value) and 1 <= value <= _MOST_WARPS and _power_of_two(value)):
            yield name, f"got {value!r}, allowed: powers of two to {_MOST_WARPS}"
        elif low in _COUNTS and not (value is None and low == "maxnreg") and not (_integer(value) and value >= 1):
            yield name, f"got {value!r}, allowed: positive integers"


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _power_of_two(value: int) -> bool:
    return value & (value - 1) == 0
