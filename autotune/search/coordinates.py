"""Turns configs into points, whose distance means how differently two configs are likely to run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from autotune.contract import Config, Parameter, Value
from autotune.contract.space import Space
from autotune.search.arrays import Floats, Mask

_UNSET_DISTANCE = 2.0
"""How far an unset value is from every set one, in doublings; the model's length scale has the last word."""


def coordinates(space: Space, configs: Sequence[Config] | None = None) -> Floats:
    """Returns one row for each config of the space, or of the configs given, whose values need not be the space's.

    A tunable parameter is a column in doublings (log2), as block sizes, warps and splits act by ratio; one that may be
    unset has a second column that says so, and sits in the middle of its own when unset.

    Raises:
        KeyError: If a config lacks one of the space's parameters.
    """
    configs = space.configs if configs is None else configs
    columns = [column for p in space.tunable for column in _columns(p, [config[p.name] for config in configs])]
    return np.stack(columns, axis=1) if columns else np.zeros((len(configs), 1))


def with_pairs(points: Floats) -> Floats:
    """Returns the coordinates, and the sum and difference of every two of them.

    In doublings a sum is a product and a difference a ratio: the area of a tile, the work of a warp, the bytes in
    flight. These are what kernels speed up and break on, and a model that measures distance along them needs fewer
    points than one that must find every product for itself.
    """
    pairs = list(itertools.combinations(range(points.shape[1]), 2))
    first, second = points[:, [i for i, _ in pairs]], points[:, [j for _, j in pairs]]
    # The axes are turned, not stretched: a step keeps its length.
    return np.concatenate([points, (first + second) / np.sqrt(2), (first - second) / np.sqrt(2)], axis=1)


def variants(space: Space, index: int) -> Mask:
    """Returns the configs that differ from one in a single parameter, by however much."""
    return np.asarray((space.ordinals != space.ordinals[index]).sum(axis=1) == 1)


def steps(space: Space, index: int) -> Mask:
    """Returns the configs one step away from one: a single parameter differs, by the next smaller or larger of its
    values."""
    return np.asarray(np.abs(space.ordinals - space.ordinals[index]).sum(axis=1) == 1)


def _columns(parameter: Parameter, values: Sequence[Value]) -> list[Floats]:
    known = [float(v) for v in parameter.values if v is not None]
    # A switch (0 or 1) and anything else that is not a positive size has an order but no ratio.
    scale = np.log2 if min(known) > 0 else np.asarray
    low, high = scale([min(known), max(known)])
    unset = np.array([v is None for v in values])
    sizes = np.array([known[0] if v is None else float(v) for v in values])
    column = np.where(unset, (low + high) / 2, scale(sizes))
    return [column, _UNSET_DISTANCE * unset] if None in parameter.values else [column]
