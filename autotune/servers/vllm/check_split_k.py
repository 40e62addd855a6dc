"""Finds shrinks split among more thread blocks than a launch may have, or than find work (contracts A4, A6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from autotune.servers.vllm.check_levels import Key, Walk

MOST_THREAD_BLOCKS: Final = (1 << 31) - 1
"""Along the first dimension of a grid (CUDA C++ Programming Guide, technical specifications)."""

USUAL_SPLITS: Final = 64
"""What the server's own default splits a shrink into, however few steps it has (contracts A2)."""


@dataclass(frozen=True)
class ShrinkSize:
    """The sizes of a shrink.

    Attributes:
        m: Rows, at least.
        n: Columns of the output in a slice.
        depth: Columns of x.
    """

    m: int
    n: int
    depth: int


def check(made: Walk, key: Key, config: dict[str, Any], size: ShrinkSize) -> None:
    """Notes an entry of a shrink whose config is complete and of sound values."""
    split_k = config["split_k"]
    tiles = -(-size.m // config["block_m"]) * -(-size.n // config["block_n"])
    if split_k * tiles > MOST_THREAD_BLOCKS:
        why = (
            f"got {split_k}, with {tiles} tiles more than the {MOST_THREAD_BLOCKS} thread blocks of a launch; lower it"
        )
        made.add((*key, "split_k"), "too many thread blocks", made.crash(key), why)
        return
    steps = -(-size.depth // config["block_k"])
    if split_k > max(steps, USUAL_SPLITS):
        why = f"got {split_k}, but {size.depth} columns are {steps} steps of {config['block_k']}: more find no work"
        made.add((*key, "split_k"), "idle thread blocks", "slower", f"{why}; lower it")
