"""Learns from failures where not to go: a config that asks for no less than one that ran out will run out too."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from autotune.contract.space import Space
from autotune.search.arrays import Mask

_GROWING = re.compile(r"block|tile|stage|segment", re.IGNORECASE)


def growing(space: Space) -> Mask:
    """Tells which of the tunable parameters take more shared memory and registers as they grow.

    Tile sizes, what a tile joins, and pipeline stages do, under any server's names for them. Warps and register caps
    take more of one and less of the other, and a split over k can shorten the loop until nothing is left to pipeline.
    """
    return np.array([bool(_GROWING.search(p.name)) for p in space.tunable], dtype=bool)


def dominated(space: Space, out_of_resources: Sequence[int]) -> Mask:
    """Tells which configs are like one that ran out of resources, but no smaller in any parameter that takes them.

    Alike means equal in all other parameters. Even so a few that would run are caught (a compiler pipelines a short
    loop less), so they are tried last, rather than never.
    """
    found = np.zeros(len(space), dtype=bool)
    grows = growing(space)
    for failed in space.ordinals[list(out_of_resources)]:
        found |= ((space.ordinals >= failed) & (grows | (space.ordinals == failed))).all(axis=1)
    return found
