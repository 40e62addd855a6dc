"""Tells of a plan's studies which ones an export may take, and what its files must answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from autotune import servers
from autotune.contract import Call, CallKey, Config
from autotune.contract.source import BUILTIN
from autotune.study.stored_study import StoredStudy

RacedTogether = tuple[int | None, tuple[str, ...]]

Study = TypeVar("Study", bound=StoredStudy)


def raced(chosen: Iterable[Study], plan: str) -> list[Study]:
    """Returns those that a plan only races."""
    return [study for study in chosen if (found := study.membership(plan)) and found.raced]


def decided(chosen: Iterable[Study], plan: str) -> list[Study]:
    """Returns the studies of a plan that an export may take: all but the races at a size of which some did not run.

    An entry for some shapes of a size would take the defaults of that size to the others in its files. Nor does it take
    what was tuned for another decision of the server's than its own kernel's result now comes to.
    """
    chosen = list(chosen)
    results = decisions(chosen)
    chosen = [study for study in chosen if not _is_outdated(study, results)]
    missing = {_kind_and_size(study) for study in raced(chosen, plan) if study.result is None}
    races = {study.name for study in raced(chosen, plan) if _kind_and_size(study) in missing}
    return [study for study in chosen if study.name not in races]


def _is_outdated(study: StoredStudy, results: Mapping[CallKey, Config | None]) -> bool:
    """Tells whether what a study is of follows from another result of the server's own kernel than there is now."""
    if (call := study.call) is None or study.spec.source != BUILTIN:
        return False
    server = servers.get(call.server)
    for theirs in server.replaces(call):
        if (decided := results.get(theirs.key)) is not None:
            flags = server.following_flags(call, decided)
            return flags is None or any(study.spec.problem.get(name) != value for name, value in flags.items())
    return False


def required(chosen: Iterable[StoredStudy], plan: str) -> list[Call]:
    """Returns every lookup that the files of a plan must answer, by a server with the Triton version measured with.

    A size that was to be raced and was not is none of them: the nearest size's config is better than the default.
    """
    chosen = list(chosen)
    missing = _not_raced(chosen, plan)
    calls = {}
    for study in chosen:
        if found := study.membership(plan):
            for call in (call for call in found.required if raced_together(call) not in missing):
                versioned = replace(call, triton=study.spec.environment.triton)
                calls[str(versioned.to_json())] = versioned
    return list(calls.values())


def _not_raced(chosen: Iterable[StoredStudy], plan: str) -> set[RacedTogether]:
    """Returns what was to be raced and is not, for one shape or more."""
    return {raced_together(study.spec.server_call) for study in raced(chosen, plan) if study.result is None}


def _kind_and_size(study: StoredStudy) -> tuple[bool, RacedTogether]:
    """Returns whose files a study's result goes into, and what it is raced together with."""
    return study.spec.source == BUILTIN, raced_together(study.spec.server_call)


def decisions(chosen: Iterable[StoredStudy]) -> dict[CallKey, Config | None]:
    """Returns what studies of servers' own kernels decided for, by the keys of their calls; None of an unfinished."""
    return {
        study.call.key: study.result.decision.config if study.result else None
        for study in chosen
        if study.spec.source != BUILTIN and study.call is not None
    }


def raced_together(call: Call | None) -> RacedTogether:
    """Returns what is equal for lookups whose sizes are raced for all or for none: those of a family of files have
    sizes of their own."""
    assert call is not None  # all studies of a plan answer one
    family = servers.get(call.server).family(call.op)
    return call.dims.get("m"), tuple(family.ops) if family else ()
