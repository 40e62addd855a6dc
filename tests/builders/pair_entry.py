"""An entry of the pair's file, for the layer that tests of the plug-in run."""

from __future__ import annotations

KEY = ("4", "3", "7", "64", "8", "48")
PAIR = {
    "block_m": 16,
    "block_n": 32,
    "block_k": 32,
    "block_r": 16,
    "split_k": 2,
    "num_warps": 2,
    "num_stages": 1,
    "launches": 1,
}
