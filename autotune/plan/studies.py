"""The studies of a plan: made once each, and found again by the plan's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from optuna.storages import BaseStorage

from autotune.contract import Call
from autotune.errors import AutotuneError, InputError, one_of
from autotune.plan.plan import Entry, Plan
from autotune.servers.lookup import nearest
from autotune.study import creation, studies
from autotune.study.describe import Request
from autotune.study.membership import Membership
from autotune.study.spec import StudySpec
from autotune.study.study import KernelStudy


def name_of(plan: Plan, request: Request) -> str:
    """Returns the plan's name in the storage: with the tag that keeps its studies apart from others."""
    return f"{plan.name}-{request.tag}" if request.tag else plan.name


def describe(plan: Plan, request: Request) -> list[dict[str, StudySpec]]:
    """Names and specs of the studies of each of a plan's entries, in its order.

    Args:
        request: As for any studies; its kernel is not used.

    Raises:
        InputError: If the plan comes to none, or one cannot be made here.
        AutotuneError: If a kernel would answer another lookup than the plan's.
    """
    if not plan.entries:
        raise InputError(f"plan {plan.name}: comes to no study: none of its lookups is of a kernel that can be tuned")
    return [_describe(plan, entry, request) for entry in plan.entries]


def create(
    storage: BaseStorage,
    plan: Plan,
    name: str,
    described: list[dict[str, StudySpec]],
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
    specs = {study: spec for found in described for study, spec in found.items()}
    names = creation.create_all(storage, specs, skip_if_exists, on_created)
    tuned = {_size(plan, entry.call) for entry in plan.entries}
    required: dict[int, list[Call]] = {}
    for call in plan.required:
        required.setdefault(nearest(tuned, _size(plan, call)), []).append(call)
    for position, (entry, found) in enumerate(zip(plan.entries, described, strict=True)):
        membership = Membership(position, entry.weight * entry.count, tuple(required.get(_size(plan, entry.call), ())))
        for each in found:
            studies.load(storage, each).join(name, membership)
    return names


def of_plan(storage: BaseStorage, plan: str) -> list[KernelStudy]:
    """Returns the studies of a plan in its order.

    Raises:
        InputError: If there is no such plan.
    """
    known = studies.memberships(storage)
    names = sorted((plans[plan].position, name) for name, plans in known.items() if plan in plans)
    if not names:
        plans = sorted({name for plans in known.values() for name in plans})
        there = one_of(plans) or "no plans yet; make one with study create --plan MODEL"
        raise InputError(f"--plan: got {plan!r}, which matches no study; there: {there}")
    return [studies.load(storage, name) for _, name in names]


def required(chosen: Iterable[KernelStudy], plan: str) -> list[Call]:
    """Returns every lookup that the files of a plan must answer, by a server with the Triton version measured with."""
    calls = {}
    for study in chosen:
        if found := study.membership(plan):
            for call in found.required:
                versioned = replace(call, triton=study.spec.environment.triton)
                calls[str(versioned.to_json())] = versioned
    return list(calls.values())


def _describe(plan: Plan, entry: Entry, request: Request) -> dict[str, StudySpec]:
    specs = creation.describe_flags(replace(request, kernel=entry.kernel), entry.flags, ())
    planned = [shape.call(_size(plan, entry.call)) for shape in plan.shapes]
    for name, spec in specs.items():
        call = spec.call
        if not any(call and (call.op, dict(call.dims)) == (other.op, dict(other.dims)) for other in planned):
            raise AutotuneError(f"study {name}: would answer {call}, which the plan does not look up; report this")
    return specs


def _size(plan: Plan, call: Call) -> int:
    return call.dims[plan.shapes[0].size]
