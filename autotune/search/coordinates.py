"""Configs as points: where distance means how differently two configs are likely to run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autotune.kernel import Parameter
from autotune.space import Space

_UNSET_DISTANCE = 2.0
"""How far an unset value is from every set one, in doublings; the model's length scale has the last word."""


def coordinates(space: Space) -> npt.NDArray[np.float64]:
    """One row a config. A tunable parameter is a column in doublings (log2), as block sizes, warps and splits act by
    ratio; one that may be unset has a second column that says so, and sits in the middle of its own when unset."""
    columns = [column for j, p in enumerate(space.tunable) for column in _columns(p, space.ordinals[:, j])]
    return np.stack(columns, axis=1) if columns else np.zeros((len(space), 1))


def neighbours(space: Space, index: int) -> npt.NDArray[np.bool_]:
    """The configs one step away in one parameter; of a parameter that may be unset, every value is one step away."""
    steps = np.abs(space.ordinals - space.ordinals[index])
    for j, parameter in enumerate(space.tunable):
        if None in parameter.values:
            steps[:, j] = np.minimum(steps[:, j], 1)
    return np.asarray(steps.sum(axis=1) == 1)


def _columns(parameter: Parameter, ordinals: npt.NDArray[np.int64]) -> list[npt.NDArray[np.float64]]:
    numbers = [v for v in parameter.values if v is not None]
    # A switch (0 or 1) and anything else that is not a positive size has an order but no ratio.
    scale = np.log2(numbers) if min(numbers) > 0 else np.arange(len(numbers), dtype=float)
    if None not in parameter.values:
        return [scale[ordinals]]
    middle = (scale[0] + scale[-1]) / 2
    unset = np.where(ordinals == 0, _UNSET_DISTANCE, 0.0)
    return [np.concatenate([[middle], scale])[ordinals], unset]
