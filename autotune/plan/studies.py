"""Makes the studies of a plan once each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from optuna.storages import BaseStorage

from autotune import servers
from autotune.contract import Call
from autotune.plan.describing import Described
from autotune.plan.plan import Plan
from autotune.servers.lookup import nearest
from autotune.servers.shapes import Shape
from autotune.study import creation, overview, studies
from autotune.study.describe import Request
from autotune.study.membership import Membership
from autotune.study.spec import StudySpec
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

    An older study of the plan whose place one of these takes leaves it, and stays in the storage: the server is another
    release, or what its kernel is timed on by default was something else.

    Args:
        name: The plan's in the storage (`name_of`).
        described: What `autotune.plan.describing.describe` says of the plan.
        on_created: Is told of each new study.

    Raises:
        InputError: If one exists that may not be skipped.
    """
    specs = {study: spec for found in described for study, spec in found.specs.items()}
    new: dict[str, KernelStudy] = {}

    def keep(study: KernelStudy) -> None:
        new[study.name] = study
        on_created(study)

    names = creation.create_all(storage, specs, skip_if_exists, keep)
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
            study = new.get(each) or studies.load(storage, each)
            study.join(name, membership)
            if each not in new and not found.raced and study.result is not None and study.result.raced_from:
                study.reopen()
    for study in _replaced(storage, name, specs):
        study.leave(name)
    return names


def _replaced(storage: BaseStorage, plan: str, specs: Mapping[str, StudySpec]) -> Iterator[KernelStudy]:
    """Yields a plan's studies that are none of these, and answer the lookup of one of these for the same reader."""
    places, there = {_place(spec) for spec in specs.values() if spec.call}, overview.of(storage)
    for name in there.of_plan(plan):
        if name not in specs and _place(there.study(name).spec) in places:
            yield studies.load(storage, name)


def _place(spec: StudySpec) -> object:
    """Returns what is equal for studies whose results claim one entry of a file."""
    call = spec.call
    return (spec.source, spec.backend, spec.gpu.name, call and (call.key, call.triton))


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
