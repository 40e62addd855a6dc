"""Describes the studies of a plan, on the kernels of each source that is asked for; stores none."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from autotune import servers
from autotune.contract import CallKey, Config
from autotune.contract.source import BUILTIN
from autotune.environment import cuda_available, current_gpu
from autotune.errors import AutotuneError, InputError
from autotune.plan.by_source import entries_of
from autotune.plan.decided import raced_together
from autotune.plan.plan import Entry, Plan
from autotune.study import creation
from autotune.study.describe import Request
from autotune.study.spec import StudySpec


@dataclass(frozen=True)
class Described:
    """A plan's entry, with the names and specs of its studies.

    Attributes:
        raced: It is no search, but a race.
    """

    entry: Entry
    specs: dict[str, StudySpec]
    raced: bool = False


def describe(plan: Plan, requests: Sequence[Request]) -> list[Described]:
    """Describes the studies of each of a plan's entries, in its order; behind them its races.

    A size that cannot be raced here for each of its shapes, as one without recordings, is left out.

    Args:
        requests: One for each source, the built-in kernels' last: of these are those that the plug-in launches, of
            several lookups at once, too. As for any studies; their kernel is not used.

    Raises:
        InputError: If the plan comes to none, or one cannot be made here.
        AutotuneError: If a kernel would answer another lookup than the plan's.
    """
    if not plan.entries:
        raise InputError(f"plan {plan.name}: comes to no study: none of its lookups is of a kernel that can be tuned")
    searched, raced = list[Described](), list[Described]()
    for request in requests:
        entries = entries_of(plan, request.source)
        searched += [Described(entry, _describe(plan, entry, request)) for entry in entries.searched]
        if entries.replacements:
            searched += replacements(plan, request, _undecided(searched))
        searched += _measurable(plan, request, entries.in_one_launch)
        raced += _races(plan, request, entries.raced)
    if not searched:
        raise InputError(
            f"plan {plan.name}: comes to no study: the plug-in launches none of its lookups that is measured here; "
            "tune the server's own kernels (--source served)"
        )
    return _distinct([*searched, *sorted(raced, key=lambda found: plan.size_of(found.entry.call))])


def replacements(plan: Plan, request: Request, results: Mapping[CallKey, Config | None]) -> list[Described]:
    """Describes the studies of what the plug-in launches in place of single lookups (`Plan.replacements`).

    What the server's own kernel is tuned for is described when that is decided; all else as a server decides that is
    started in this environment.

    Args:
        results: By the key of a call that is tuned on the server's own kernel, what was decided (`decisions`); None
            before that.

    Raises:
        InputError: If one cannot be made here.
    """
    server, found = servers.get(plan.serving.server), list[Described]()
    if not _replaces_here(request):
        return []
    for entry in plan.replacements:
        (theirs,) = server.replaces(entry.call)
        if theirs.key in results:
            config = results[theirs.key]
        else:
            config = server.started_config(theirs, entry.flags, current_gpu())
        if config is None or (flags := server.following_flags(entry.call, config)) is None:
            continue
        ready = replace(entry, flags={**entry.flags, **flags})
        found.append(Described(ready, _describe(plan, ready, request)))
    return found


def waiting(plan: Plan, request: Request, described: Iterable[Described]) -> list[Entry]:
    """Returns what `replacements` describes at most once all that is described has a result."""
    if not _replaces_here(request):
        return []
    replaces, waited_for = servers.get(plan.serving.server).replaces, _undecided(described)
    return [entry for entry in plan.replacements if any(each.key in waited_for for each in replaces(entry.call))]


def _replaces_here(request: Request) -> bool:
    """Tells whether replacements can be measured: no recording has any."""
    return request.backend != "replay" and cuda_available()


def _undecided(described: Iterable[Described]) -> dict[CallKey, Config | None]:
    """Returns the calls that are to be tuned on servers' own kernels, as `decisions` does."""
    specs = [spec for found in described for spec in found.specs.values()]
    return {spec.call.key: None for spec in specs if spec.source != BUILTIN and spec.call is not None}


def _distinct(described: Iterable[Described]) -> list[Described]:
    """Leaves out what is described twice, where the server's own kernels are not to be had and ours are taken."""
    found: dict[tuple[str, ...], Described] = {}
    for each in described:
        found.setdefault(tuple(each.specs), each)
    return list(found.values())


def _measurable(plan: Plan, request: Request, entries: Iterable[Entry]) -> Iterator[Described]:
    """Yields what can be measured here: that a recording lacks what the plug-in alone launches is no error."""
    for entry in entries:
        with suppress(InputError):
            yield Described(entry, _describe(plan, entry, request))


def _races(plan: Plan, request: Request, races: Iterable[Entry]) -> Iterator[Described]:
    by_size = itertools.groupby(races, key=lambda entry: (plan.size_of(entry.call), raced_together(entry.call)))
    for _, entries in by_size:
        with suppress(InputError):
            yield from [Described(entry, _describe(plan, entry, request), raced=True) for entry in entries]


def _describe(plan: Plan, entry: Entry, request: Request) -> dict[str, StudySpec]:
    specs = creation.describe_flags(replace(request, kernel=entry.kernel), entry.flags, ())
    shapes = [each for shape in plan.shapes for each in (shape, *shape.together)]
    planned = [shape.call(plan.size_of(entry.call)) for shape in shapes]
    for name, spec in specs.items():
        call = spec.call
        if not any(call and (call.op, dict(call.dims)) == (other.op, dict(other.dims)) for other in planned):
            raise AutotuneError(f"study {name}: would answer {call}, which the plan does not look up; report this")
    return specs
