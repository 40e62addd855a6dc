"""Makes the studies of a plan once each, and finds them again by the plan's name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from optuna.storages import BaseStorage

from autotune import servers
from autotune.contract import Call, Config
from autotune.contract.source import BUILTIN
from autotune.environment import cuda_available, current_gpu
from autotune.errors import AutotuneError, InputError
from autotune.plan.plan import Entry, Plan
from autotune.servers.lookup import nearest
from autotune.servers.shapes import Shape
from autotune.study import creation, overview, studies
from autotune.study.describe import Request
from autotune.study.membership import Membership
from autotune.study.spec import StudySpec
from autotune.study.study import KernelStudy

_Together = tuple[int | None, tuple[str, ...]]


def name_of(plan: Plan, request: Request) -> str:
    """Returns the plan's name in the storage: with the tag that keeps its studies apart from others."""
    return f"{plan.name}-{request.tag}" if request.tag else plan.name


@dataclass(frozen=True)
class Described:
    """A plan's entry, with the names and specs of its studies.

    Attributes:
        raced: It is no search, but a race.
    """

    entry: Entry
    specs: dict[str, StudySpec]
    raced: bool = False


def describe(plan: Plan, request: Request, for_plugin: Request | None = None) -> list[Described]:
    """Describes the studies of each of a plan's entries, in its order; behind them its races.

    A size that cannot be raced here for each of its shapes, as one without recordings, is left out.

    Args:
        request: As for any studies; its kernel is not used.
        for_plugin: Adds the studies of our kernels that the plug-in can put in the place of the server's, those of
            several lookups at once among them.

    Raises:
        InputError: If the plan comes to none, or one cannot be made here.
        AutotuneError: If a kernel would answer another lookup than the plan's.
    """
    if not plan.entries:
        raise InputError(f"plan {plan.name}: comes to no study: none of its lookups is of a kernel that can be tuned")
    entries, races = plan.entries, plan.races
    if request.source == BUILTIN:
        entries, races = plan.launched_by_plugin(entries), plan.launched_by_plugin(races)
    searched = [Described(entry, _describe(plan, entry, request)) for entry in entries]
    raced = list(_races(plan, request, races))
    if for_plugin is not None:
        kernels = servers.get(plan.serving.server).plugin_kernels
        ours = [entry for entry in plan.entries if entry.kernel in kernels]
        searched += [Described(entry, _describe(plan, entry, for_plugin)) for entry in ours]
        searched += prepared(plan, for_plugin, _undecided(searched))
        searched += _in_one_launch(plan, for_plugin)
        raced += _races(plan, for_plugin, [entry for entry in plan.races if entry.kernel in kernels])
    if not searched:
        raise InputError(f"plan {plan.name}: comes to no study: the plug-in leaves all of its lookups to the server")
    return _distinct([*searched, *sorted(raced, key=lambda found: _size(plan, found.entry.call))])


def prepared(plan: Plan, request: Request, results: Mapping[str, Config | None]) -> list[Described]:
    """Describes the studies of what the plug-in launches once the server has decided something of it.

    What the server's own kernel is tuned for is described when that is decided; all else as a server decides that is
    started in this environment.

    Args:
        results: By the text of a call that is tuned on the server's own kernel, what was decided (`decisions`); None
            before that.

    Raises:
        InputError: If one cannot be made here.
    """
    server, found = servers.get(plan.serving.server), list[Described]()
    if request.backend == "replay" or not cuda_available():
        return []  # No recording has any of it.
    for entry in plan.prepared:
        (theirs,) = server.replaces(entry.call)
        decided = results.get(text_of(theirs))
        if decided is None and text_of(theirs) in results:
            continue
        flags = server.prepared(entry.call, entry.flags, current_gpu(), decided)
        if flags is not None:
            ready = replace(entry, flags={**entry.flags, **flags})
            found.append(Described(ready, _describe(plan, ready, request)))
    return found


def count_waiting(plan: Plan, request: Request, described: Iterable[Described]) -> int:
    """Counts what `prepared` describes once all that is described has a result."""
    if request.backend == "replay" or not cuda_available():
        return 0
    replaces, waited_for = servers.get(plan.serving.server).replaces, _undecided(described)
    return sum(text_of(theirs) in waited_for for entry in plan.prepared for theirs in replaces(entry.call))


def decisions(chosen: Iterable[KernelStudy]) -> dict[str, Config | None]:
    """Returns what studies of servers' own kernels decided for, by the texts of their calls; None of an unfinished."""
    return {
        text_of(study.call): study.result.decision.config if study.result else None
        for study in chosen
        if study.spec.source != BUILTIN and study.call is not None
    }


def _undecided(described: Iterable[Described]) -> dict[str, Config | None]:
    """Returns the calls that are to be tuned on servers' own kernels, as `decisions` does."""
    specs = [spec for found in described for spec in found.specs.values()]
    return {text_of(spec.call): None for spec in specs if spec.source != BUILTIN and spec.call is not None}


def text_of(call: Call) -> str:
    """Returns a text that is equal for equal lookups."""
    return f"{call.op} {sorted(call.dims.items())}"


def _distinct(described: Iterable[Described]) -> list[Described]:
    """Leaves out what is described twice, where the server's own kernels are not to be had and ours are taken."""
    found: dict[tuple[str, ...], Described] = {}
    for each in described:
        found.setdefault(tuple(each.specs), each)
    return list(found.values())


def _in_one_launch(plan: Plan, request: Request) -> Iterator[Described]:
    """Yields what can be measured here of several lookups at once: that a recording lacks it is no error."""
    prepared_ones = {text_of(entry.call) for entry in plan.prepared}
    for entry in (each for each in plan.together if text_of(each.call) not in prepared_ones):
        with suppress(InputError):
            yield Described(entry, _describe(plan, entry, request))


def _races(plan: Plan, request: Request, races: Iterable[Entry]) -> Iterator[Described]:
    for _, entries in itertools.groupby(races, key=lambda entry: (_size(plan, entry.call), _together(entry.call))):
        with suppress(InputError):
            yield from [Described(entry, _describe(plan, entry, request), raced=True) for entry in entries]


def create(
    storage: BaseStorage,
    plan: Plan,
    name: str,
    described: list[Described],
    skip_if_exists: bool,
    on_created: Callable[[KernelStudy], None] = lambda study: None,
) -> list[str]:
    """Creates the studies of a plan, all or none, and marks them as its; returns the names of all, new or not.

    Args:
        name: The plan's in the storage (`name_of`).
        described: What `describe` says of the plan.
        on_created: Is told of each new study.

    Raises:
        InputError: If one exists that may not be skipped.
    """
    specs = {study: spec for found in described for study, spec in found.specs.items()}
    created = creation.create_all(storage, specs, skip_if_exists, on_created)
    tuned = {_size(plan, found.entry.call) for found in described}
    required: dict[int, list[Call]] = {}
    for call in plan.required:
        required.setdefault(nearest(tuned, _size(plan, call)), []).append(call)
    for position, found in enumerate(described):
        entry = found.entry
        membership = Membership(
            position=position,
            weight=entry.weight * entry.count,
            required=tuple(required.get(_size(plan, entry.call), ())),
            raced=found.raced,
            layers=entry.layers,
            launches=entry.count,
            share=entry.weight,
            untuned=() if position else tuple(untuned(plan)),
        )
        for each in found.specs:
            study = studies.load(storage, each)
            study.join(name, membership)
            if not found.raced and study.result is not None and study.result.raced_from:
                study.reopen()
    return created


def of_plan(storage: BaseStorage, plan: str) -> list[KernelStudy]:
    """Returns the studies of a plan in its order.

    Raises:
        InputError: If there is no such plan.
    """
    with overview.opened(storage) as found:
        names = found.of_plan(plan)
    return [studies.load(storage, name) for name in names]


def raced(chosen: Iterable[KernelStudy], plan: str) -> list[KernelStudy]:
    """Returns those that a plan only races."""
    return [study for study in chosen if (found := study.membership(plan)) and found.raced]


def decided(chosen: Iterable[KernelStudy], plan: str) -> list[KernelStudy]:
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


def _is_outdated(study: KernelStudy, results: Mapping[str, Config | None]) -> bool:
    """Tells whether a study is of what the server had prepared by another result than there is now."""
    if (call := study.call) is None or study.spec.source != BUILTIN:
        return False
    server = servers.get(call.server)
    for theirs in server.replaces(call)[:1]:
        if (decided := results.get(text_of(theirs))) is not None:
            flags = server.prepared(call, study.spec.problem, study.spec.gpu, decided)
            return flags is None or any(study.spec.problem.get(name) != value for name, value in flags.items())
    return False


def untuned(plan: Plan) -> Iterator[str]:
    """Tells what of a plan no study tunes, and why; one line each."""
    tuned = {op for shape in plan.shapes if shape.kernels for op in _family(shape)}
    for shape in plan.shapes:
        if not shape.kernels and shape.op not in tuned:
            sizes, layers = ", ".join(shape.labels), ", ".join(shape.layers)
            yield f"{shape.op} {sizes} ({layers}): no measurement changes what the server does; files hold its default"
    yield from plan.warnings


def _family(shape: Shape) -> tuple[str, ...]:
    """Returns the ops that are tuned where this one is."""
    family = servers.get(shape.server).family(shape.op)
    return tuple(family.ops) if family else (shape.op,)


def required(chosen: Iterable[KernelStudy], plan: str) -> list[Call]:
    """Returns every lookup that the files of a plan must answer, by a server with the Triton version measured with.

    A size that was to be raced and was not is none of them: the nearest size's config is better than the default.
    """
    chosen = list(chosen)
    missing = _not_raced(chosen, plan)
    calls = {}
    for study in chosen:
        if found := study.membership(plan):
            for call in (call for call in found.required if _together(call) not in missing):
                versioned = replace(call, triton=study.spec.environment.triton)
                calls[str(versioned.to_json())] = versioned
    return list(calls.values())


def _not_raced(chosen: Iterable[KernelStudy], plan: str) -> set[_Together]:
    """Returns what was to be raced and is not, for one shape or more."""
    return {_together(study.spec.server_call) for study in raced(chosen, plan) if study.result is None}


def _kind_and_size(study: KernelStudy) -> tuple[bool, _Together]:
    """Returns whose files a study's result goes into, and what it is raced together with."""
    return study.spec.source == BUILTIN, _together(study.spec.server_call)


def _together(call: Call | None) -> _Together:
    """Returns what is equal for lookups whose sizes are raced for all or for none: those of a family of files have
    sizes of their own."""
    assert call is not None  # all studies of a plan answer one
    family = servers.get(call.server).family(call.op)
    return call.dims.get("m"), tuple(family.ops) if family else ()


def _describe(plan: Plan, entry: Entry, request: Request) -> dict[str, StudySpec]:
    specs = creation.describe_flags(replace(request, kernel=entry.kernel), entry.flags, ())
    shapes = [each for shape in plan.shapes for each in (shape, *shape.together)]
    planned = [shape.call(_size(plan, entry.call)) for shape in shapes]
    for name, spec in specs.items():
        call = spec.call
        if not any(call and (call.op, dict(call.dims)) == (other.op, dict(other.dims)) for other in planned):
            raise AutotuneError(f"study {name}: would answer {call}, which the plan does not look up; report this")
    return specs


def _size(plan: Plan, call: Call) -> int:
    return call.dims[plan.shapes[0].size]
