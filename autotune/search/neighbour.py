"""Describes finished problems near the one being tuned, and what they tell its search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autotune.contract import Config
from autotune.contract.space import Space


@dataclass(frozen=True)
class Neighbour:
    """A finished search of the same kernel on the same GPU.

    Attributes:
        sizes: The problem's sizes by name, e.g. ``{"m": 16, "k": 5120}``.
        configs: What was timed, in any order.
        log_us: The log time of each.
        log_estimate: What the kernel had expected of each, if it expects anything.
        winner: What its race decided for, perhaps not the first of `configs`; None if not known.
    """

    sizes: Mapping[str, int]
    configs: Sequence[Config]
    log_us: Sequence[float]
    log_estimate: Sequence[float] | None = None
    winner: Config | None = None


def distance(a: Mapping[str, int], b: Mapping[str, int]) -> float:
    """Tells how far apart two problems are: the doublings between their sizes, added up; a size that only one has
    counts as one."""
    shared = [n for n in a if n in b and a[n] > 0 and b[n] > 0]
    return float(sum(abs(np.log2(a[n] / b[n])) for n in shared) + len(set(a) ^ set(b)))


def seeds(space: Space, neighbours: Sequence[Neighbour], count: int) -> list[int]:
    """Returns the positions in the space of the neighbours' best configs, taking turns, the first neighbour's winner
    first."""
    ranked = [_best_first(space, neighbour) for neighbour in neighbours]
    turns = [queue[turn] for turn in range(count) for queue in ranked if turn < len(queue)]
    return list(dict.fromkeys(turns))[:count]


def _best_first(space: Space, neighbour: Neighbour) -> list[int]:
    winner = [] if neighbour.winner is None else [neighbour.winner]
    fastest = [neighbour.configs[int(i)] for i in np.argsort(neighbour.log_us, kind="stable")]
    found = []
    for config in [*winner, *fastest]:
        try:
            found.append(space.index(config))
        except KeyError:
            continue
    return list(dict.fromkeys(found))
