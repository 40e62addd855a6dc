"""Makes the studies of a plan once each, and finds them again by the plan's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from optuna.storages import BaseStorage

from autotune import servers
from autotune.contract import Call, Config
from autotune.contract.source import BUILTIN
from autotune.plan.describing import Described, RacedTogether, decisions, raced_together, text_of
from autotune.plan.plan import Plan
from autotune.servers.lookup import nearest
from autotune.servers.shapes import Shape
from autotune.study import creation, overview, studies
from autotune.study.describe import Request
from autotune.study.membership import Membership
from autotune.study.study import KernelStudy


def name_of(plan: Plan, request: Request) -> str:
    """Returns the plan's name in the storage: with the tag that keeps its studies apart from others."""
    return f"{plan.name}-{request.tag}" if request.tag else plan.name


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
        described: What `autotune.plan.describing.describe` says of the plan.
        on_created: Is told of each new study.

    Raises:
        InputError: If one exists that may not be skipped.
    """
    specs = {study: spec for found in described for study, spec in found.specs.items()}
    created = creation.create_all(storage, specs, skip_if_exists, on_created)
    tuned = {plan.size_of(found.entry.call) for found in described}
    required: dict[int, list[Call]] = {}
    for call in plan.required:
        required.setdefault(nearest(tuned, plan.size_of(call)), []).append(call)
    for position, found in enumerate(described):
        entry = found.entry
        membership = Membership(
            position=position,
            weight=entry.weight * entry.count,
            required=tuple(required.get(plan.size_of(entry.call), ())),
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
    """Tells whether what a study is of follows from another result of the server's own kernel than there is now."""
    if (call := study.call) is None or study.spec.source != BUILTIN:
        return False
    server = servers.get(call.server)
    for theirs in server.replaces(call):
        if (decided := results.get(text_of(theirs))) is not None:
            flags = server.following_flags(call, decided)
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
            for call in (call for call in found.required if raced_together(call) not in missing):
                versioned = replace(call, triton=study.spec.environment.triton)
                calls[str(versioned.to_json())] = versioned
    return list(calls.values())


def _not_raced(chosen: Iterable[KernelStudy], plan: str) -> set[RacedTogether]:
    """Returns what was to be raced and is not, for one shape or more."""
    return {raced_together(study.spec.server_call) for study in raced(chosen, plan) if study.result is None}


def _kind_and_size(study: KernelStudy) -> tuple[bool, RacedTogether]:
    """Returns whose files a study's result goes into, and what it is raced together with."""
    return study.spec.source == BUILTIN, raced_together(study.spec.server_call)
