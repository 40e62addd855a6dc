"""What our pair launches with where nothing was tuned: chosen by the shape, once, from what was best for many.

Measured on one H200, 13 layers of ranks 8 to 256 at 1, 16 and 64 tokens, against shrink and expand apart with their
defaults (README.md).
"""

from __future__ import annotations

import math
from typing import Final

from autotune.contract import Config
from autotune.kernels.common.tiles import cdiv, next_pow2
from autotune.servers.vllm.linear import MOST_TOKENS

_BLOCK_R: Final = 16
_WARPS: Final = 4
_DEEPEST: Final = 512
"""Columns of x that a program takes at a time, at most."""

_WIDE_RANK: Final = 32
"""Beyond it the parts of a slice are so many that one slice alone is no faster than shrink and expand apart."""

_WIDEST_RANK: Final = 64
"""The widest that was timed with several slices."""

_MOST_SPLITS: Final = 16
"""Each expand program sums the parts of all of them."""


def default_config(m: int, k: int, rank: int, n: int, num_slices: int) -> Config | None:
    """Returns the default for tokens ``[m, k]`` and slices of up to n columns, one for all m that have one; None where
    shrink and expand run apart."""
    wide = rank > _WIDE_RANK
    if m > MOST_TOKENS or rank > _WIDEST_RANK or (wide and num_slices == 1):
        return None
    shrinks = 16 if num_slices == 1 else 64 if wide else 32
    splits = 1 << max(0, round(math.log2(shrinks / (num_slices * cdiv(rank, _BLOCK_R)))))
    split_k = min(splits, _MOST_SPLITS, next_pow2(cdiv(k, 64)))
    return {
        "block_m": 16,
        "block_n": min(128 if wide else 64, max(32, next_pow2(n))),
        "block_k": min(_DEEPEST, max(16 * _WARPS, next_pow2(cdiv(k, split_k)))),
        "block_r": _BLOCK_R,
        "split_k": split_k,
        "num_warps": _WARPS,
        "num_stages": 2,
        "launches": 2,
    }
