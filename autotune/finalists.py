"""From the search's best configs to a decision: tuned, or keep the default.

Screening times are noisy, and the best of many noisy numbers flatters itself. So the best few and the incumbent are
timed again side by side; the fastest then meets the incumbent in a second race of fresh replays, which alone decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import optuna
from scipy import stats

from autotune import trials
from autotune.kernel import Config
from autotune.measure.backend import Backend
from autotune.space import Space

FINALISTS = 8
MIN_GAIN = 0.01
"""A config must be this much faster than the incumbent: below it, other runs and other inputs decide."""
MAX_P_VALUE = 0.01


@dataclass(frozen=True)
class Verdict:
    """How a config did against the incumbent in a paired race.

    Attributes:
        gain: Median share of the incumbent's time saved, pair by pair (0.2 = 20%); negative if slower.
        p_value: One-sided Wilcoxon signed-rank test of the paired differences.
    """

    gain: float
    p_value: float

    @property
    def faster(self) -> bool:
        return self.gain >= MIN_GAIN and self.p_value <= MAX_P_VALUE


@dataclass(frozen=True)
class Finalist:
    config: dict[str, Any]
    median_us: float
    gain: float


@dataclass(frozen=True)
class Decision:
    """The result of a study.

    Attributes:
        outcome: ``tuned``, or ``default`` when nothing beat the incumbent beyond the noise.
        config: The winner: the incumbent itself when the outcome is ``default``.
        incumbent_us: Its median in the deciding race; None if the default config does not run here.
        tuned_us: The winner's median in the same race.
        finalists: Everyone of the first race, the fastest first.
    """

    outcome: str
    config: dict[str, Any]
    incumbent: dict[str, Any]
    incumbent_us: float | None
    tuned_us: float
    p_value: float | None
    finalists: tuple[Finalist, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"finalists": [asdict(f) for f in self.finalists]}


def decide(study: optuna.Study, space: Space, backend: Backend, rounds: int) -> Decision | None:
    """Race the finalists of a searched study; None if no config of it ran correctly."""
    challengers = best_configs(study, space, FINALISTS)
    candidates = [space.incumbent, *(c for c in challengers if c != space.incumbent)]
    first = backend.race(candidates, rounds)
    standing = {i: m for i, m in enumerate(first) if m.status == "ok"}
    if not standing:
        return None
    finalists = tuple(
        Finalist(dict(candidates[i]), m.median_us, paired_gain(m.samples_us, first[0].samples_us))
        for i, m in sorted(standing.items(), key=lambda item: item[1].median_us)
    )
    winner = finalists[0].config
    if 0 not in standing:
        return Decision("tuned", winner, dict(space.incumbent), None, finalists[0].median_us, None, finalists)
    return _confirm(space, backend, rounds, finalists)


def _confirm(space: Space, backend: Backend, rounds: int, finalists: tuple[Finalist, ...]) -> Decision:
    """The fastest finalist against the incumbent once more, on fresh replays."""
    incumbent = dict(space.incumbent)
    challenger = next((f.config for f in finalists if f.config != incumbent), incumbent)
    default, tuned = backend.race([incumbent, challenger], rounds)
    if tuned.status != "ok" or default.status != "ok":
        first_us = next(f.median_us for f in finalists if f.config == incumbent)
        time_us = default.median_us if default.status == "ok" else first_us
        return Decision("default", incumbent, incumbent, time_us, time_us, None, finalists)
    verdict = compare(tuned.samples_us, default.samples_us)
    if challenger != incumbent and verdict.faster:
        return Decision("tuned", challenger, incumbent, default.median_us, tuned.median_us, verdict.p_value, finalists)
    return Decision("default", incumbent, incumbent, default.median_us, default.median_us, verdict.p_value, finalists)


def best_configs(study: optuna.Study, space: Space, count: int) -> list[Config]:
    """The fastest completely measured configs of a study; pruned ones cannot win."""
    found = trials.measured(study.get_trials(deepcopy=False), space)
    complete = [(m.time_us, m.index) for m in found if m.status == "ok" and m.time_us is not None]
    return [space.configs[index] for _, index in sorted(complete)[:count]]


def compare(challenger_us: Sequence[float], incumbent_us: Sequence[float]) -> Verdict:
    """Test samples taken side by side: is the challenger faster? Uses logarithms, so that gains are relative."""
    difference = np.log(challenger_us) - np.log(incumbent_us)
    if not np.any(difference):
        return Verdict(0.0, 1.0)
    p_value = float(stats.wilcoxon(difference, alternative="less").pvalue)
    return Verdict(paired_gain(challenger_us, incumbent_us), p_value)


def paired_gain(challenger_us: Sequence[float], incumbent_us: Sequence[float]) -> float:
    """Median share of the incumbent's time saved, pair by pair; 0 if one of them has no times."""
    if not challenger_us or not incumbent_us:
        return 0.0
    return 1 - median(c / i for c, i in zip(challenger_us, incumbent_us, strict=True))
