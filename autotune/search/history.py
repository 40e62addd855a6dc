"""What a study knows so far, in the terms a model needs: positions in the space and log times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import optuna

from autotune import trials
from autotune.measure.result import FAILURES
from autotune.search.resources import dominated
from autotune.space import Space

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class History:
    """One moment of a study.

    Attributes:
        timed: Positions of the configs with a time, in the order taken; failures have none.
        log_us: Their log times in microseconds; of a pruned config that of its partial median.
        best: Position of the fastest config timed to the end, or None.
        untried: Which configs are neither finished nor in flight.
        hopeless: Which of the untried ask for no less than a config that ran out of resources.
        trials: How many trials the study holds, of any state.
        in_flight: Positions of the configs being measured.
    """

    timed: Indices
    log_us: Floats
    best: int | None
    untried: Mask
    hopeless: Mask
    trials: int
    in_flight: tuple[int, ...] = ()

    @property
    def candidates(self) -> Indices:
        """Untried configs in the order of the space, the hopeless ones last."""
        hopeful = np.flatnonzero(self.untried & ~self.hopeless)
        return np.concatenate([hopeful, np.flatnonzero(self.untried & self.hopeless)])


def observe(study: optuna.Study, space: Space, within: Mask | None = None) -> History:
    """Read a study's trials; the study must belong to this space.

    Args:
        within: The configs that may be tried and be the best; all have been learned from.
    """
    inside = np.ones(len(space), dtype=bool) if within is None else within
    stored = study.get_trials(deepcopy=False)
    done = trials.measured(stored, space)
    flying = tuple(trials.in_flight(stored, space))
    untried = inside.copy()
    untried[[m.index for m in done]] = False
    untried[list(flying)] = False
    timed = [m for m in done if m.status not in FAILURES and m.time_us is not None]
    finished = [m for m in timed if m.status == "ok" and inside[m.index]]
    best = min(finished, key=lambda m: m.time_us or np.inf).index if finished else None
    out_of_resources = [m.index for m in done if m.status == "out_of_resources"]
    return History(
        timed=np.array([m.index for m in timed], dtype=np.intp),
        log_us=np.log(np.array([m.time_us for m in timed], dtype=np.float64)),
        best=best,
        untried=untried,
        hopeless=untried & dominated(space, out_of_resources),
        trials=len(stored),
        in_flight=flying,
    )
