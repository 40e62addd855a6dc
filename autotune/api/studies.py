"""Turns what is to be tuned into studies in a storage, and finds those that a user names to be run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from optuna.storages import BaseStorage

from autotune.api.group_source import refuse_unread
from autotune.api.problems import Problems
from autotune.api.reading import names, one_name
from autotune.contract import registry
from autotune.contract.source import BOTH, BUILTIN, SERVED, split
from autotune.errors import one_of
from autotune.plan import decided, describing
from autotune.plan import studies as plan_studies
from autotune.plan.by_source import left_to_server, sources_of
from autotune.plan.plan import Entry, Plan
from autotune.plan.work import TunedEntry, TuningWork
from autotune.report.note import write_note
from autotune.servers.command_line import DecoderBlock
from autotune.study import creation, overview, studies
from autotune.study.describe import Request
from autotune.study.spec import StudySpec
from autotune.study.study import KernelStudy


@dataclass(frozen=True)
class _OfPlan:
    """The plan of a set of studies, with its name in the storage and its studies.

    Attributes:
        for_plugin: How those of the plug-in's kernels are made; None where they are not wanted.
    """

    plan: Plan
    name: str
    described: list[describing.Described]
    for_plugin: Request | None


@dataclass(frozen=True)
class StudySet:
    """Studies to make, described and checked; none is stored yet.

    Attributes:
        specs: By name.
        notes: In what they are not all that was asked for; one line each.
    """

    specs: Mapping[str, StudySpec]
    _of_plan: _OfPlan | None = None
    notes: tuple[str, ...] = ()

    @property
    def plan_name(self) -> str | None:
        """The plan's name in the storage; None where the studies belong to no plan."""
        return self._of_plan.name if self._of_plan else None

    @property
    def work(self) -> TuningWork:
        """What these studies take, and those that `behind` may add."""
        if (of := self._of_plan) is None:
            return TuningWork()
        searched, raced = list[TunedEntry](), list[TunedEntry]()
        for each in of.described:
            found = TunedEntry(each.entry, next(iter(each.specs.values())).source)
            (raced if each.raced else searched).append(found)
        return TuningWork(searched, raced, [TunedEntry(entry, BUILTIN) for entry in self._waiting])

    @property
    def still_to_follow(self) -> int:
        """How many studies `behind` may add."""
        return len(self._waiting)

    @property
    def _waiting(self) -> list[Entry]:
        if (of := self._of_plan) is None or of.for_plugin is None:
            return []
        return describing.waiting(of.plan, of.for_plugin, of.described)

    def behind(self, storage: BaseStorage) -> StudySet | None:
        """Describes the set with the studies that what its finished ones decided makes possible: the plug-in's, of what
        follows from the server's own kernel's result. Returns None where there is none to add.

        Raises:
            InputError: If one cannot be measured here.
        """
        if (of := self._of_plan) is None or of.for_plugin is None:
            return None
        found = decided.decisions(map(overview.of(storage).study, self.specs))
        ready = describing.replacements(of.plan, of.for_plugin, found)
        more = [each for each in ready if not set(each.specs) <= set(self.specs)]
        if not more:
            return None
        specs = {name: spec for each in more for name, spec in each.specs.items()}
        return replace(self, specs={**self.specs, **specs}, _of_plan=replace(of, described=[*of.described, *more]))

    def create(self, storage: BaseStorage, skip_if_exists: bool = False) -> list[str]:
        """Creates the studies, all or none; returns the names of all, new or not.

        Raises:
            InputError: If one exists and may not be skipped, or exists with another meaning.
        """
        with creation.alone(storage):
            if (of := self._of_plan) is None:
                return creation.create_all(storage, self.specs, skip_if_exists, write_note)
            return plan_studies.create(storage, of.plan, of.name, of.described, skip_if_exists, write_note)


def of_problems(problems: Problems, request: Request) -> StudySet:
    """Describes a study for each problem: for each token count, or chunk size, and of a group for each member.

    Raises:
        InputError: If there is no such problem, it cannot be measured here, or nobody would read its results.
    """
    refuse_unread(problems, request.source)
    specs: dict[str, StudySpec] = {}
    for each in _by_source(replace(request, kernel=problems.kernel)):
        specs |= creation.describe_flags(each, problems.values, problems.m_values, problems.path)
    return StudySet(specs, notes=_of_one_source(request, specs))


def of_plan(plan: Plan, request: Request) -> StudySet:
    """Describes the studies of a plan.

    Where ours are wanted as well, or alone, the kernels that do several lookups at once are among them. They are wanted
    where the plug-in is switched on, too.

    Raises:
        InputError: If the plan takes no study, or one cannot be measured here.
    """
    requests = [replace(request, source=source) for source in sources_of(request.source)]
    described = describing.describe(plan, requests)
    specs = {name: spec for found in described for name, spec in found.specs.items()}
    ours = next((each for each in requests if each.source == BUILTIN), None)
    of_plan = _OfPlan(plan, plan_studies.name_of(plan, request), described, ours)
    return StudySet(specs, of_plan, (*left_to_server(plan, request.source), *_of_one_source(request, specs)))


def of_block(block: DecoderBlock, server: str, problems: Problems, request: Request) -> StudySet:
    """Describes the studies of all layers of a decoder block; layers with equal problems share a study.

    Args:
        problems: What is the same for all layers: rank, workload, ...

    Raises:
        InputError: If there is no such problem, or it cannot be measured here.
    """
    specs: dict[str, StudySpec] = {}
    for each, op in itertools.product(_by_source(request), block.ops):
        of_op = replace(each, kernel=registry.of_server(op, server))
        for layer in block.layers:
            found = creation.problems_to_time(of_op, {**problems.values, **layer.flags}, problems.m_values)
            specs |= creation.describe_all(of_op, found)
    return StudySet(specs, notes=_of_one_source(request, specs))


def _by_source(request: Request) -> list[Request]:
    """Returns a request for each source that is asked for, the server's own first."""
    sources = (SERVED, BUILTIN) if request.source == BOTH else (request.source,)
    return [replace(request, source=source) for source in sources]


def _of_one_source(request: Request, specs: Mapping[str, StudySpec]) -> tuple[str, ...]:
    """Says so where recordings are not of what is asked for: of one source, where both are, or of the server's own
    kernel, where the built-in one is. Ops that only one source has do not count."""
    sources: dict[str, set[str]] = {}
    for spec in specs.values():
        if spec.backend == "replay" and spec.call and registry.served_package(split(spec.kernel)[0], spec.call.server):
            sources.setdefault(repr(spec.call), set()).add(spec.source)
    alone = [next(iter(found)) for found in sources.values() if len(found) == 1]
    others = [each for each in alone if each != BUILTIN]
    if request.source == BOTH and alone:
        counted, timed = alone, "which is timed against no other; on a GPU (--backend cuda) both are timed"
    elif request.source == BUILTIN and others:
        counted, timed = others, "which is timed instead; on a GPU (--backend cuda) the built-in one is timed"
    else:
        return ()
    return (
        f"--source {request.source}: {len(counted)} of {len(sources)} shapes have recordings of one kernel alone "
        f"({one_of(sorted(set(counted)))}), {timed}",
    )


def find(storage: BaseStorage, patterns: Iterable[str] = (), plan_name: str | None = None) -> list[KernelStudy]:
    """Returns the studies that globs match, or those of a plan in its order, to be run; without either all.

    Raises:
        InputError: If there is none, or both are given.
    """
    return [studies.load(storage, name) for name in names(overview.of(storage), tuple(patterns), plan_name)]


def find_one(storage: BaseStorage, name: str) -> KernelStudy:
    """Returns the study of this name, or the only one that it matches as a glob, to be run.

    Raises:
        InputError: If there is none, or more than one.
    """
    return studies.load(storage, one_name(overview.of(storage), name))
