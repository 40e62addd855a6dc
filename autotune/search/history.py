"""Holds what a study knows so far, in the terms a model needs: positions in the space and log times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from autotune.contract.space import Space
from autotune.measure.result import FAILURES
from autotune.search.arrays import Floats, Indices, Mask
from autotune.search.resources import dominated
from autotune.study import trials
from autotune.study.trials import MeasuredTrial


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

    def after(self, count: int) -> History:
        """Returns the state when `count` configs had been timed, as far as the trials still show it."""
        untried = self.untried.copy()
        untried[self.timed[count:]] = True
        best = int(self.timed[self.log_us[:count].argmin()]) if count else None
        return replace(
            self, timed=self.timed[:count], log_us=self.log_us[:count], best=best, untried=untried, in_flight=()
        )


class Observer:
    """Reads what a study knows, each finished trial once however long the study is.

    Safe where threads ask for trials at the same time: a trial is in flight from its proposal on, before Optuna has
    stored its parameters.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._read: dict[int, tuple[FrozenTrial, MeasuredTrial | None]] = {}
        self._dominated = np.zeros(len(space), dtype=bool)
        self._out_of_resources: set[int] = set()
        self._proposed: dict[int, int] = {}

    def propose(self, trial: FrozenTrial, index: int) -> None:
        """Notes which config a trial is about to measure."""
        self._proposed[trial.number] = index

    def forget(self, trial: FrozenTrial) -> None:
        """Forgets what a trial of this number was in another study, before one is chosen."""
        self._proposed.pop(trial.number, None)

    def observe(self, study: optuna.Study, within: Mask | None = None) -> History:
        """Reads a study's trials; the study must belong to the space.

        Args:
            within: The configs that may be tried and be the best; all have been learned from.
        """
        inside = np.ones(len(self._space), dtype=bool) if within is None else within
        stored = study.get_trials(deepcopy=False)
        done = [found for trial in stored if (found := self._measured(trial)) is not None]
        flying = tuple(i for trial in stored if (i := self._in_flight(trial)) is not None)
        untried = inside.copy()
        untried[[m.index for m in done]] = False
        untried[list(flying)] = False
        timed = [m for m in done if m.status not in FAILURES and m.time_us is not None]
        finished = [m for m in timed if m.status == "ok" and inside[m.index]]
        best = min(finished, key=lambda m: m.time_us or np.inf).index if finished else None
        return History(
            timed=np.array([m.index for m in timed], dtype=np.intp),
            log_us=np.log(np.array([m.time_us for m in timed], dtype=np.float64)),
            best=best,
            untried=untried,
            hopeless=untried & self._dominated_by(m.index for m in done if m.status == "out_of_resources"),
            trials=len(stored),
            in_flight=flying,
        )

    def _measured(self, trial: FrozenTrial) -> MeasuredTrial | None:
        if not trial.state.is_finished():
            return None
        # By identity: a storage gives out the same object for a finished trial, and copies count trials from zero.
        if (known := self._read.get(id(trial))) is None or known[0] is not trial:
            known = self._read[id(trial)] = trial, trials.as_measured(trial, self._space)
        return known[1]

    def _in_flight(self, trial: FrozenTrial) -> int | None:
        if trial.state != TrialState.RUNNING:
            return None
        found = trials.position(trial, self._space)
        return self._proposed.get(trial.number) if found is None else found

    def _dominated_by(self, out_of_resources: Iterable[int]) -> Mask:
        if new := set(out_of_resources) - self._out_of_resources:
            self._dominated |= dominated(self._space, sorted(new))
            self._out_of_resources |= new
        return self._dominated
