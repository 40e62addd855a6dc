"""Takes over what finished neighbouring problems expect: the times of their models become the mean of the new one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from autotune.contract.space import Space
from autotune.search.arrays import Floats
from autotune.search.coordinates import coordinates, with_pairs
from autotune.search.neighbour import Neighbour
from autotune.search.surrogate import Surrogate

_FEWEST = 10
"""Configs a neighbour must have timed to be worth a model."""

_MOST = 120
"""Of a neighbour that timed more, its fastest and an even share of the others: a model's cost grows with the cube."""

_KEPT = 4
"""Neighbours of a space whose models are kept: all that a search is begun with."""


@dataclass(frozen=True)
class _Modelled:
    """What one neighbour leads to expect of the configs of a space; None if it is too little."""

    neighbour: Neighbour
    log_estimate: Floats | None
    mean: Floats | None

    def is_of(self, neighbour: Neighbour, log_estimate: Floats | None) -> bool:
        """Tells whether it is of these very times and estimates; who is asked twice hands in the same."""
        known = self.neighbour
        same = known.configs is neighbour.configs and known.log_us is neighbour.log_us
        return same and known.log_estimate is neighbour.log_estimate and self.log_estimate is log_estimate


_modelled: WeakKeyDictionary[Space, deque[_Modelled]] = WeakKeyDictionary()


def transferred(space: Space, neighbours: Sequence[Neighbour], log_estimate: Floats | None = None) -> Floats | None:
    """Returns the log times to expect of the configs of a space, up to a constant; None if nothing is known.

    Each neighbour's times are modelled like the space's own and read off at its configs. The nearest counts most. Where
    the kernel has estimates, it is their error at the neighbour that is carried over: what a larger problem changes is
    for the estimate to say.
    """
    expected, weights = np.zeros(len(space)), 0.0
    for rank, neighbour in enumerate(neighbours, start=1):
        if (mean := _expected_by(neighbour, space, log_estimate)) is None:
            continue
        expected += (mean - mean.mean()) / rank
        weights += 1 / rank
    if not weights:
        return log_estimate
    return expected / weights + (0.0 if log_estimate is None else log_estimate)


def _expected_by(neighbour: Neighbour, space: Space, log_estimate: Floats | None) -> Floats | None:
    """Returns what one neighbour leads to expect; None if it timed too little.

    A search is made twice, to compile ahead of its turn and at it, when one neighbour more may have finished: the
    others are modelled once.
    """
    kept = _modelled.setdefault(space, deque(maxlen=_KEPT))
    found = next((each for each in kept if each.is_of(neighbour, log_estimate)), None)
    if found is None:
        found = _Modelled(neighbour, log_estimate, _modelled_mean(neighbour, space, log_estimate))
        kept.append(found)
    return found.mean


def _modelled_mean(neighbour: Neighbour, space: Space, log_estimate: Floats | None) -> Floats | None:
    known = _sample(neighbour, space)
    if len(known) < _FEWEST or not space.tunable:
        return None
    theirs = coordinates(space, [neighbour.configs[i] for i in known])
    both = with_pairs(np.concatenate([theirs, coordinates(space)]))
    times = np.array([neighbour.log_us[i] for i in known])
    if log_estimate is not None and neighbour.log_estimate is not None:
        times -= [neighbour.log_estimate[i] for i in known]
    return Surrogate(both).believe(np.arange(len(known)), times).mean[len(known) :]


def _sample(neighbour: Neighbour, space: Space) -> list[int]:
    """Tells which of a neighbour's configs to learn from, the fastest first."""
    ranked = [int(i) for i in np.argsort(neighbour.log_us, kind="stable")]
    ranked = [i for i in ranked if all(p.name in neighbour.configs[i] for p in space.tunable)]
    fastest, others = ranked[: _MOST // 2], ranked[_MOST // 2 :]
    return fastest + others[:: max(1, -(-len(others) * 2 // _MOST))]
