"""Decides for a searched group: one common value with a config for each op, or the defaults of all.

As for a single study (`run.finalists`) the best few are raced against the default, and what wins meets the default
once more. What is compared is the sum over the ops: sample i of a set of configs is the sum of their samples i, each
taken side by side with its op's default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from autotune.contract import Config, Value
from autotune.measure.result import Measurement
from autotune.run.finalists import Verdict, compare, paired_gain
from autotune.study.result import Decision, Finalist, GroupDecision, Outcome

PER_VALUE = 3
"""Configs of each op that race at each value."""

VALUES = 2
"""Values that race, besides the default's own."""


class Racer(Protocol):
    """One op of the group."""

    @property
    def name(self) -> str: ...

    @property
    def incumbent(self) -> Config: ...

    @property
    def other_defaults(self) -> Sequence[Config]:
        """What else the server may launch without a result; as many for each op of a group."""
        ...

    def best_at(self, value: int, count: int) -> list[Config]:
        """Finds the fastest correct configs at a value of the shared parameter."""
        ...

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]: ...


@dataclass(frozen=True)
class GroupRace:
    """What the race of a group came to.

    Attributes:
        value: The shared parameter's value in the result.
        ops: The decision for each op, by name; an op alone may be slower than its default.
    """

    decision: GroupDecision
    value: Value
    ops: Mapping[str, Decision]


@dataclass(frozen=True)
class _Lap:
    """One op's race: the configs and what came of them, the default first."""

    configs: tuple[Config, ...]
    found: tuple[Measurement, ...]

    def of(self, config: Config) -> Measurement:
        return self.found[self.configs.index(config)]

    def fastest(self, shared: str, value: int) -> Config | None:
        standing = [
            (m.median_us, i)
            for i, (config, m) in enumerate(zip(self.configs, self.found, strict=True))
            if m.status == "ok" and config[shared] == value
        ]
        return self.configs[min(standing)[1]] if standing else None

    @property
    def finalists(self) -> tuple[Finalist, ...]:
        default_us = self.found[0].samples_us if self.found[0].status == "ok" else ()
        standing = [(c, m) for c, m in zip(self.configs, self.found, strict=True) if m.status == "ok"]
        return tuple(
            Finalist(config, m.median_us, paired_gain(m.samples_us, default_us))
            for config, m in sorted(standing, key=lambda pair: pair[1].median_us)
        )


_Laps = Mapping[str, _Lap]
_Set = Mapping[str, Config]


def decide_group(racers: Sequence[Racer], shared: str, values: Sequence[int], rounds: int) -> GroupRace | None:
    """Races the best configs of every op at these values, the most promising first; None if no value has them all."""
    laps = {r.name: _first_lap(r, values, rounds) for r in racers}
    sets = _sets(laps, shared, values)
    if not sets:
        return None
    defaults = {r.name: r.incumbent for r in racers}
    if not _runs(laps, defaults):
        winners = sets[0]
        return _raced("tuned", shared, laps, laps, winners, defaults, None)
    others = _other_sets(racers)
    challengers = [s for s in sets if s != defaults][:VALUES]
    challengers += [s for s in others if s not in [defaults, *challengers]]
    last = {r.name: _lap(r, [r.incumbent, *(s[r.name] for s in challengers)], rounds) for r in racers}
    if not _runs(last, defaults):
        return _raced("default", shared, laps, laps, defaults, defaults, None)
    others = [s for s in others if _runs(last, s)]
    p_value = None
    for winners in challengers:
        if not _runs(last, winners):
            continue
        verdict = _compare(last, winners, defaults)
        p_value = verdict.p_value if p_value is None else p_value
        if verdict.faster and not any(_compare(last, other, winners).faster for other in others if other != winners):
            raced = _raced("tuned", shared, laps, last, winners, defaults, verdict.p_value)
            return _beside(raced, [_sum_us(last, other) for other in others])
    raced = _raced("default", shared, laps, last, defaults, defaults, p_value)
    return _beside(raced, [_sum_us(last, other) for other in others])


def _other_sets(racers: Sequence[Racer]) -> list[_Set]:
    """Returns the other defaults, one of each op together."""
    return [
        {racer.name: config for racer, config in zip(racers, configs, strict=True)}
        for configs in zip(*(racer.other_defaults for racer in racers), strict=True)
    ]


def _beside(raced: GroupRace, others_us: Sequence[float]) -> GroupRace:
    """Adds the sum of the fastest of the other defaults, if there are any."""
    return replace(raced, decision=replace(raced.decision, other_default_us=min(others_us, default=None)))


def _first_lap(racer: Racer, values: Sequence[int], rounds: int) -> _Lap:
    challengers = [config for value in values for config in racer.best_at(value, PER_VALUE)]
    return _lap(racer, [racer.incumbent, *challengers], rounds)


def _lap(racer: Racer, configs: Sequence[Config], rounds: int) -> _Lap:
    distinct = tuple(config for i, config in enumerate(configs) if config not in configs[:i])
    return _Lap(distinct, tuple(racer.race(distinct, rounds)))


def _sets(laps: _Laps, shared: str, values: Sequence[int]) -> list[_Set]:
    """Finds the fastest config of each op at each value that all ops have one at; the least sum first."""
    found: list[tuple[float, int, dict[str, Config]]] = []
    for position, value in enumerate(values):
        chosen = {name: lap.fastest(shared, value) for name, lap in laps.items()}
        complete = {name: config for name, config in chosen.items() if config is not None}
        if len(complete) == len(laps):
            found.append((_sum_us(laps, complete), position, complete))
    return [configs for _, _, configs in sorted(found, key=lambda item: item[:2])]


def _runs(laps: _Laps, configs: _Set) -> bool:
    return all(laps[name].of(config).status == "ok" for name, config in configs.items())


def _sum_us(laps: _Laps, configs: _Set) -> float:
    return math.fsum(laps[name].of(config).median_us for name, config in configs.items())


def _compare(laps: _Laps, winners: _Set, defaults: _Set) -> Verdict:
    def samples_us(configs: _Set) -> list[float]:
        total = np.sum([laps[name].of(config).samples_us for name, config in configs.items()], axis=0)
        return [float(x) for x in total]

    return compare(samples_us(winners), samples_us(defaults))


def _raced(
    outcome: Outcome, shared: str, first: _Laps, last: _Laps, winners: _Set, defaults: _Set, p_value: float | None
) -> GroupRace:
    decision = GroupDecision(
        outcome=outcome,
        incumbent_us=_sum_us(last, defaults) if _runs(last, defaults) else None,
        tuned_us=_sum_us(last, winners),
        p_value=p_value,
    )
    ops: dict[str, Decision] = {}
    for name, config in winners.items():
        default = last[name].of(defaults[name])
        ops[name] = Decision(
            outcome=outcome,
            config=config,
            incumbent=defaults[name],
            incumbent_us=default.median_us if default.status == "ok" else None,
            tuned_us=last[name].of(config).median_us,
            p_value=p_value,
            finalists=first[name].finalists,
        )
    return GroupRace(decision, next(iter(winners.values()))[shared], ops)
