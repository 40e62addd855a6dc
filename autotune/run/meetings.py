"""Finds which configs are to be timed against each other: what studies of a server's kernel and of ours decided for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune import servers
from autotune.contract import Call, Config, Problem
from autotune.contract.source import BUILTIN, split
from autotune.study.head_to_head import APART, DEFAULT, OURS, SERVED, Contender
from autotune.study.result import Decision
from autotune.study.study import KernelStudy

Way = tuple[tuple[KernelStudy, Config], ...]
"""Studies' configs that do the work together, in their order."""


@dataclass(frozen=True)
class Meeting:
    """A finished study of our kernel, and the ways to do its work.

    Attributes:
        ways: By the name of the side; ours is the last.
    """

    own: KernelStudy
    ways: Mapping[str, Way]

    @property
    def takes_place(self) -> bool:
        """Tells whether there is more than one way, and the study is not of several calls at once that has
        decided for the calls themselves."""
        decision = self.own.result.decision if self.own.result else None
        keeps_apart = APART in self.ways and decision is not None and decision.config == decision.incumbent
        return len(self.ways) > 1 and not keeps_apart

    def runs_our_problem(self, study: KernelStudy) -> bool:
        """Tells whether a study's kernel is one of our study's op, which runs our study's problem."""
        return split(study.spec.kernel)[0] == split(self.own.spec.kernel)[0]

    def problem_of(self, study: KernelStudy) -> Problem:
        """Returns what a study's configs are timed on: where its kernel runs it our study's problem, since that is what
        ours is to be no slower on."""
        return self.own.problem if self.runs_our_problem(study) else study.problem

    @property
    def is_due(self) -> bool:
        """Tells whether these configs have not been timed against each other yet, on what ours was tuned on."""
        known = self.own.head_to_head
        if known is None or not (known.interleaved or self.own.spec.backend == "replay"):
            return True
        if not known.on_ours and self._has_other_problems:
            return True
        return {side.name: side.contenders for side in known.sides} != {
            n: contenders(way) for n, way in self.ways.items()
        }

    @property
    def _has_other_problems(self) -> bool:
        """Tells whether a study of a kernel of our op is of another problem than ours."""
        studies = [study for way in self.ways.values() for study, _ in way if self.runs_our_problem(study)]
        return any(study.spec.problem != self.own.spec.problem for study in studies)


@dataclass(frozen=True)
class _Rivals:
    """A study of our kernel, and those of what does its work otherwise, call by call; None where there is none.

    Attributes:
        served: Those of the server's kernels.
        apart: Those of our kernels of the single calls; empty where the study is of a single call itself.
    """

    own: KernelStudy
    served: tuple[KernelStudy | None, ...]
    apart: tuple[KernelStudy | None, ...]

    @property
    def meeting(self) -> Meeting:
        return Meeting(self.own, self.ways)

    @property
    def finished(self) -> bool:
        return all(study.result is not None for study in (self.own, *self.served, *self.apart) if study is not None)

    @property
    def ways(self) -> dict[str, Way]:
        """All ways of which every study is finished."""
        served, apart = _decided(self.served), _decided(self.apart)
        found: dict[str, Way] = {}
        if served:
            found[DEFAULT] = tuple((study, decision.incumbent) for study, decision in served)
            found[SERVED] = tuple((study, decision.config) for study, decision in served)
        if apart:
            found[APART] = tuple(itertools.starmap(_faster, itertools.zip_longest(apart, served)))
        found[OURS] = tuple((study, decision.config) for study, decision in _decided([self.own]))
        return found


def contenders(way: Way) -> tuple[Contender, ...]:
    return tuple(Contender(study.name, config) for study, config in way)


def meetings(chosen: Iterable[KernelStudy], *, apart: bool) -> list[Meeting]:
    """Finds the meetings of finished studies.

    Args:
        apart: Those of what does several calls' work, which rest on how these met; else those of single calls.
    """
    finished = [study for study in chosen if study.result is not None]
    found = [each.meeting for each in _all_rivals(finished) if bool(each.apart) == apart]
    return [each for each in found if each.takes_place]


def coming(chosen: Iterable[KernelStudy]) -> int:
    """Counts the meetings that are due, and those that there may be once all of the studies are finished."""
    return sum(not each.finished or (each.meeting.takes_place and each.meeting.is_due) for each in _all_rivals(chosen))


def outdated(chosen: Iterable[KernelStudy]) -> list[KernelStudy]:
    """Lists studies of our kernels that met another study of the server's kernel than the one that is theirs now: the
    server was another release, say."""
    found = []
    for each in _all_rivals(chosen):
        known = each.own.head_to_head
        now = {study.name for study in each.served if study is not None}
        if known is not None and not now <= known.rivals:
            found.append(each.own)
    return found


def _all_rivals(chosen: Iterable[KernelStudy]) -> list[_Rivals]:
    served: dict[Any, KernelStudy] = {}
    ours: dict[Any, KernelStudy] = {}
    for study in chosen:
        if study.call is None:
            continue
        if study.spec.source != BUILTIN:
            served[_place(study, study.call)] = study
        elif study.spec.group is None:
            ours[_place(study, study.call)] = study
    found = []
    for own in ours.values():
        assert own.call is not None
        parts = servers.get(own.call.server).replaces(own.call)
        places = [_place(own, call) for call in parts or [own.call]]
        rivals = _Rivals(
            own, tuple(map(served.get, places)), tuple(ours.get(place) for place in places) if parts else ()
        )
        if any((*rivals.served, *rivals.apart)):
            found.append(rivals)
    return found


def _place(study: KernelStudy, call: Call) -> Any:
    """Returns what is equal for studies of the same work."""
    return (study.spec.backend, study.spec.gpu.name, str(study.spec.problem.get("dtype")), call.key)


def _decided(studies: Sequence[KernelStudy | None]) -> list[tuple[KernelStudy, Decision]]:
    """Returns the studies with what they decided; none if one of them is not there, or is not finished."""
    found = [(study, study.result.decision) for study in studies if study is not None and study.result is not None]
    return found if len(found) == len(studies) else []


def _faster(
    ours: tuple[KernelStudy, Decision], theirs: tuple[KernelStudy, Decision] | None
) -> tuple[KernelStudy, Config]:
    """Returns the one of two kernels that was found to be faster."""
    study, decision = ours
    known = study.head_to_head
    if theirs is None or known is None or known.is_ours:
        return study, decision.config
    other, served = theirs
    return other, served.incumbent if known.winner == DEFAULT else served.config
