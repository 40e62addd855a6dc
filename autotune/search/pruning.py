"""Decides when to give a config up while its timings are being repeated."""

from __future__ import annotations

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from autotune.contract import Config


class GapPruner(BasePruner):
    """Gives up a config when even the fastest of its first samples is clearly above the best median.

    Timing noise only ever adds, so the fastest sample is nearest the truth; a median or a rank test over so few samples
    gives up the best config of a flat landscape, this does not (`docs/searching.md`).

    Args:
        gap: How much above the best median, as a share of it.
        samples: How many samples to wait for.
        within: Only configs with these parameters are compared with; empty for all.
    """

    def __init__(self, gap: float = 0.05, samples: int = 3, within: Config | None = None) -> None:
        self.gap = gap
        self.samples = samples
        self.within = within or {}

    def limit_us(self, study: optuna.Study) -> float | None:
        """Returns the time above which a config is given up; None while none has been timed to the end."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        medians_us = [t.value for t in done if t.value is not None and self.within.items() <= t.params.items()]
        return min(medians_us) * (1 + self.gap) if medians_us else None

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if len(trial.intermediate_values) < self.samples:
            return False
        limit_us = self.limit_us(study)
        first = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)[: self.samples]]
        return limit_us is not None and min(first) > limit_us
