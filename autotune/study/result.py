"""Describes what becomes of a study and of a group: plain data, and the one place that turns it into JSON and back.

A decision's fields stand in the JSON beside those that a report needs, as in every storage so far.
What a result of an older release lacks takes the field's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from autotune.contract import Config, Floor
from autotune.contract.converter import CONVERTER

Outcome = Literal["tuned", "default"]
"""``tuned``, or ``default`` when nothing beat the incumbent beyond the noise."""

STATES = ("new", "started", *get_args(Outcome))
"""Where a study may stand: a finished one by its outcome."""

WALL = "wall"
"""The phase that stands for all of them in `StudyResult.seconds` and `GroupResult.seconds`."""


@dataclass(frozen=True)
class Finalist:
    """A config of the first race.

    Attributes:
        gain: Median share of the incumbent's time saved, pair by pair; 0 if the incumbent does not run here.
    """

    config: Config
    median_us: float
    gain: float


@dataclass(frozen=True)
class WorkloadTimes:
    """One workload of a study that holds several, in the deciding race.

    Attributes:
        incumbent_us: None if the default config does not run here.
        gain: Median share of the incumbent's time saved on it, pair by pair; 0 if the incumbent stays or does not run.
    """

    name: str
    incumbent_us: float | None
    tuned_us: float
    gain: float


@dataclass(frozen=True)
class Decision:
    """What the finalists' race decided.

    Attributes:
        config: The winner: the incumbent itself when the outcome is ``default``.
        incumbent_us: Its median in the deciding race; None if the default config does not run here.
        tuned_us: The winner's median in the same race.
        p_value: Of the paired comparison; None if there was none.
        finalists: Everyone of the first race, the fastest first.
        workloads: The times on each workload, where there are several: the other times are their weighted means.
    """

    outcome: Outcome
    config: Config
    incumbent: Config
    incumbent_us: float | None
    tuned_us: float
    p_value: float | None
    finalists: tuple[Finalist, ...]
    workloads: tuple[WorkloadTimes, ...] = ()

    @property
    def speedup(self) -> float | None:
        """Incumbent's time over the winner's, from the race that decided."""
        return _speedup(self.incumbent_us, self.tuned_us)

    @property
    def worst_workload(self) -> WorkloadTimes | None:
        """The one that gained least."""
        return min(self.workloads, key=lambda times: times.gain, default=None)


@dataclass(frozen=True)
class StudyResult:
    """A decision, with what else a report needs.

    Attributes:
        configs: Size of the space.
        counts: Number of trials by status.
        seconds: Where the time went, by phase; `WALL` is the whole search's.
        floor_us: The least time at this bandwidth; None if that is not known.
        finished: When, as ISO 8601 in UTC.
        raced_from: Of a race, the studies whose winners were raced; empty after a search.
        defaults: How many configs are measured in any case: the default, and our kernel's own where that is another.
    """

    decision: Decision
    configs: int
    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    floor: Floor
    floor_us: float | None
    bandwidth_bytes_per_s: float | None
    finished: str
    raced_from: tuple[str, ...] = ()
    defaults: int = 1

    @property
    def was_searched(self) -> bool:
        """Whether anything was measured beside the defaults, where there is more than these."""
        return self.configs <= self.defaults or bool(self.raced_from) or sum(self.counts.values()) > self.defaults

    @property
    def of_floor(self) -> float | None:
        """Share of the winner's time that moving the bytes would take."""
        return self.floor_us / self.decision.tuned_us if self.floor_us else None

    @property
    def wall_s(self) -> float:
        return self.seconds[WALL]


@dataclass(frozen=True)
class GroupDecision:
    """What the race of a group decided: one value of the shared parameter for all its ops.

    Attributes:
        outcome: ``default`` when no set of configs beat the defaults' sum beyond the noise.
        incumbent_us: The defaults' sum in the deciding race; None if one of them does not run here.
        tuned_us: The winners' sum in the same race.
        p_value: Of the paired comparison of the sums; None if there was none.
        other_default_us: The sum of what the server launches without a result in another setting, in the same race;
            None where it launches the defaults in any.
    """

    outcome: Outcome
    incumbent_us: float | None
    tuned_us: float
    p_value: float | None
    other_default_us: float | None = None

    @property
    def speedup(self) -> float | None:
        """Incumbents' sum over the winners', from the race that decided."""
        return _speedup(self.incumbent_us, self.tuned_us)


@dataclass(frozen=True)
class GroupResult:
    """A group's decision, with what else a report needs.

    Attributes:
        group: The group's name.
        shared: The shared parameter and its value.
        sums_us: The measured sum of each value at which every op was measured, the fastest first.
        best_us: By study, the fastest time measured at each value: it shows where the ops disagree.
        members: By study, its part: an op alone may be slower than its default.
        path: Which of the server's code paths the group is for.
    """

    decision: GroupDecision
    group: str
    shared: Config
    sums_us: Mapping[str, float]
    best_us: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, float]
    finished: str
    members: Mapping[str, StudyResult]
    path: str

    @property
    def wall_s(self) -> float:
        return self.seconds[WALL]


def _speedup(incumbent_us: float | None, tuned_us: float) -> float | None:
    return incumbent_us / tuned_us if incumbent_us else None


def _register_decision() -> None:
    """Writes the name of the worst workload, which readers of the JSON look for, and leaves it out when reading."""
    fields = make_dict_unstructure_fn(Decision, CONVERTER)

    def unstructure(decision: Decision) -> dict[str, Any]:
        worst = decision.worst_workload
        return {**fields(decision), "worst_workload": worst.name if worst else None}

    CONVERTER.register_unstructure_hook(Decision, unstructure)
    only_of_two_defaults = override(omit_if_default=True)
    of_group = make_dict_unstructure_fn(GroupDecision, CONVERTER, other_default_us=only_of_two_defaults)
    CONVERTER.register_unstructure_hook(GroupDecision, of_group)


def _register_with_decision(kind: type[StudyResult] | type[GroupResult]) -> None:
    """Puts the decision's fields before the others, on one level."""
    omitted = ("raced_from", "defaults") if kind is StudyResult else ()
    of_some: Any = {name: override(omit_if_default=True) for name in omitted}
    others: Any = make_dict_unstructure_fn(kind, CONVERTER, decision=override(omit=True), **of_some)
    whole = make_dict_structure_fn(kind, CONVERTER)

    def unstructure(result: StudyResult | GroupResult) -> dict[str, Any]:
        return {**CONVERTER.unstructure(result.decision), **others(result)}

    def structure(data: Mapping[str, Any], _kind: object) -> Any:
        return whole({**data, "decision": data}, kind)

    CONVERTER.register_unstructure_hook(kind, unstructure)
    CONVERTER.register_structure_hook(kind, structure)


_register_decision()
_register_with_decision(StudyResult)
_register_with_decision(GroupResult)
