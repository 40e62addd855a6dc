"""Puts a search together: sampler, pruner and stop rule."""

from __future__ import annotations

from collections.abc import Sequence

import optuna

from autotune.contract.space import Space
from autotune.errors import InputError, one_of
from autotune.search import SAMPLERS, STOPS
from autotune.search.api import Search, SpaceSampler
from autotune.search.arrays import Floats
from autotune.search.neighbour import Neighbour
from autotune.search.pruning import GapPruner
from autotune.search.ranking import OrderSampler
from autotune.search.stopping import NeverStop

SWEEP_BELOW = 150
"""Below this many configs measuring them all takes seconds, and cannot miss the best."""

SWEEP_BELOW_ESTIMATED = 32
"""The same where the kernel says what it expects of each config: a search of more stops sooner, and misses none that is
worth having (`docs/searching.md`)."""


def make_search(
    name: str,
    space: Space,
    seed: int,
    neighbours: Sequence[Neighbour] = (),
    log_estimate: Floats | None = None,
    *,
    stop: str = "auto",
) -> Search:
    """Puts a search together.

    Args:
        name: One of `SAMPLERS`: ``auto`` sweeps a small space and models a large one, ``gp`` always models, ``sweep``
            and ``grid`` measure everything, shuffled or in the order of the space.
        seed: Decides every random choice.
        neighbours: Finished problems of the same kernel and GPU, nearest first.
        log_estimate: What the kernel expects of each config (`autotune.search.estimate`), if it expects anything.
        stop: One of `STOPS`: ``none`` leaves stopping to the budget.

    Raises:
        InputError: For an unknown name.
    """
    if stop not in STOPS:
        raise InputError(f"--stop: got {stop!r}; allowed: {one_of(STOPS)}")
    if name == "auto":
        sweep_below = SWEEP_BELOW if log_estimate is None else SWEEP_BELOW_ESTIMATED
        name = "sweep" if len(space) < sweep_below else "gp"
    if name == "gp":
        # Loads SciPy, which a sweep does without.
        from autotune.search.pool import PoolSampler
        from autotune.search.stopping import GainStop

        pool = PoolSampler(space, seed, neighbours, log_estimate)
        return Search(pool, GapPruner(), GainStop(pool) if stop == "auto" else NeverStop())
    return Search(_plain(name, space, seed), GapPruner(), NeverStop())


def _plain(name: str, space: Space, seed: int) -> SpaceSampler:
    if name in ("random", "sweep"):
        return OrderSampler(space, seed)
    if name == "grid":
        return OrderSampler(space, None)
    if name == "tpe":
        from autotune.search.optuna_samplers import SnapSampler

        return SnapSampler(space, lambda seed: optuna.samplers.TPESampler(seed=seed), seed)
    raise InputError(f"--sampler: got {name!r}; allowed: {one_of(SAMPLERS)}")
