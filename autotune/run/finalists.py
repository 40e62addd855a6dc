"""Decides between the search's best configs and the default.

Screening times are noisy, and the best of many noisy numbers flatters itself. So the best few, the incumbent and our
kernel's own default are timed again side by side; the fastest then meets the incumbent in a second race of fresh
replays, which alone decides.

Where a study holds several workloads, a mean could hide that one of them got slower: a config that is slower than the
incumbent on any, by the same test the other way round, is passed over, and the next fastest races. Each race is of
fresh replays, but with every further challenger chance has one more try: at most `FINALISTS`, at `MAX_P_VALUE` each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import optuna

from autotune.contract import Config
from autotune.contract.space import Space
from autotune.measure.backend import Backend
from autotune.measure.result import Measurement
from autotune.study import trials
from autotune.study.result import Decision, Finalist, WorkloadTimes

FINALISTS = 8
MIN_GAIN = 0.01
"""A config must be this much faster than the incumbent: below it, other runs and other inputs decide."""
MAX_P_VALUE = 0.01
MOST_LOSS = 0.0075
"""A config may cost one of several workloads less than this. It is below `MIN_GAIN`, so that other runs, whose times
differ by some thousandths, find none slower by as much as that: one that lost 1% just about was taken, and lost 1.1%
when its file was raced again (docs/results.md)."""


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


def decide(
    study: optuna.Study, space: Space, backend: Backend, rounds: int, own_defaults: Sequence[Config] = ()
) -> Decision | None:
    """Races the finalists of a searched study; None if no config of it ran correctly.

    Args:
        own_defaults: What is a finalist in any case, besides the incumbent.
    """
    challengers = [*own_defaults, *best_configs(study, space, FINALISTS)]
    positions = dict.fromkeys([space.index(space.incumbent), *map(space.index, challengers)])
    candidates = [space.configs[position] for position in positions]
    first = backend.race(candidates, rounds)
    standing = {i: m for i, m in enumerate(first) if m.status == "ok"}
    if not standing:
        return None
    finalists = tuple(
        Finalist(candidates[i], m.median_us, paired_gain(m.samples_us, first[0].samples_us))
        for i, m in sorted(standing.items(), key=lambda item: item[1].median_us)
    )
    if 0 not in standing:
        winner, found = finalists[0], min(standing.values(), key=lambda m: m.median_us)
        return Decision(
            outcome="tuned",
            config=winner.config,
            incumbent=space.incumbent,
            incumbent_us=None,
            tuned_us=winner.median_us,
            p_value=None,
            finalists=finalists,
            workloads=_workload_times(found, None),
        )
    return _confirm(space.incumbent, backend, rounds, finalists)


def _confirm(incumbent: Config, backend: Backend, rounds: int, finalists: tuple[Finalist, ...]) -> Decision:
    """Races the fastest finalist against the incumbent once more, on fresh replays.

    If it slows a workload, the next one races.
    """
    for challenger in [f.config for f in finalists if f.config != incumbent] or [incumbent]:
        default, tuned = backend.race([incumbent, challenger], rounds)
        if tuned.status != "ok" or default.status != "ok":
            first_us = next(f.median_us for f in finalists if f.config == incumbent)
            return _kept(incumbent, default.median_us if default.status == "ok" else first_us, finalists)
        verdict = compare(tuned.samples_us, default.samples_us)
        if challenger == incumbent or not verdict.faster:
            break
        if not slows_a_workload(tuned, default):
            return Decision(
                outcome="tuned",
                config=challenger,
                incumbent=incumbent,
                incumbent_us=default.median_us,
                tuned_us=tuned.median_us,
                p_value=verdict.p_value,
                finalists=finalists,
                workloads=_workload_times(tuned, default),
            )
    kept = _kept(incumbent, default.median_us, finalists)
    return replace(kept, p_value=verdict.p_value, workloads=_workload_times(default, default))


def _kept(incumbent: Config, time_us: float, finalists: tuple[Finalist, ...]) -> Decision:
    """Decides for the incumbent, which no comparison spoke against."""
    return Decision(
        outcome="default",
        config=incumbent,
        incumbent=incumbent,
        incumbent_us=time_us,
        tuned_us=time_us,
        p_value=None,
        finalists=finalists,
    )


def slows_a_workload(challenger: Measurement, incumbent: Measurement) -> bool:
    """Tells whether the incumbent is the faster one on any workload, beyond the noise."""
    pairs = zip(incumbent.workloads_us.values(), challenger.workloads_us.values(), strict=True)
    found = (compare(incumbent_us, challenger_us) for incumbent_us, challenger_us in pairs)
    return any(verdict.gain >= MOST_LOSS and verdict.p_value <= MAX_P_VALUE for verdict in found)


def _workload_times(winner: Measurement, incumbent: Measurement | None) -> tuple[WorkloadTimes, ...]:
    return tuple(
        WorkloadTimes(
            name, median(before_us) if before_us else None, median(after_us), paired_gain(after_us, before_us)
        )
        for name, after_us in winner.workloads_us.items()
        for before_us in [incumbent.workloads_us[name] if incumbent else ()]
    )


def best_configs(study: optuna.Study, space: Space, count: int) -> list[Config]:
    """Finds the fastest completely measured configs of a study; pruned ones cannot win."""
    found = trials.measured(study.get_trials(deepcopy=False), space)
    complete = [(m.time_us, m.index) for m in found if m.status == "ok" and m.time_us is not None]
    return [space.configs[index] for _, index in sorted(complete)[:count]]


def compare(challenger_us: Sequence[float], incumbent_us: Sequence[float]) -> Verdict:
    """Tests samples taken side by side: is the challenger faster? Uses logarithms, so that gains are relative."""
    difference = np.log(challenger_us) - np.log(incumbent_us)
    if not np.any(difference):
        return Verdict(0.0, 1.0)
    from scipy import stats  # takes half a second to load

    p_value = float(stats.wilcoxon(difference, alternative="less").pvalue)
    return Verdict(paired_gain(challenger_us, incumbent_us), p_value)


def paired_gain(challenger_us: Sequence[float], incumbent_us: Sequence[float]) -> float:
    """Finds the median share of the incumbent's time saved, pair by pair; 0 if one of them has no times."""
    if not challenger_us or not incumbent_us:
        return 0.0
    return 1 - median(c / i for c, i in zip(challenger_us, incumbent_us, strict=True))
