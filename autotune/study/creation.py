"""Makes studies from flags: one problem per token count, described first, stored only when all of them are sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from optuna.storages import BaseStorage

from autotune.contract import AnyKernel, Problem, groups, registry, source
from autotune.contract.converter import to_json
from autotune.contract.groups import GroupKind
from autotune.errors import InputError, MissingFlagError, one_of
from autotune.study import studies
from autotune.study.describe import Request, backend_of, describe, timed_kernel
from autotune.study.leases import Leases
from autotune.study.spec import StudySpec
from autotune.study.study import KernelStudy

_ANY_SIZE = 16
"""Stands for a size that is missing, to find out what else is; each kernel takes it."""

_PATIENCE_S = 600.0


@contextmanager
def alone(storage: BaseStorage) -> Iterator[None]:
    """Keeps other processes from creating studies in a storage during a block; waits until none does."""
    with Leases(storage).waiting_for("creation", "studies are being created", _PATIENCE_S):
        yield


def describe_flags(
    request: Request, values: Mapping[str, Any], m_values: tuple[int, ...], path: str | None = None
) -> dict[str, StudySpec]:
    """Returns names and specs of the studies that flags describe: one for each m, or of a group one for each m and
    member.

    Raises:
        InputError: If they describe none.
    """
    kind = groups.find(request.kernel)
    if kind is not None:
        return _describe_group(request, kind, kind.path(path or groups.AUTO, values), values, m_values)
    if path is not None:
        raise InputError(f"--path: got {path} for {request.kernel}; it belongs to --op-type {_groups()} only")
    return describe_all(request, problems_to_time(request, values, m_values))


def _groups() -> str:
    return one_of(kind.name for kind in groups.kinds())


def problems_to_time(request: Request, values: Mapping[str, Any], m_values: tuple[int, ...]) -> list[Problem]:
    """Returns the problems that flags describe to the kernel that a request comes to time: what a flag is where it is
    not given is that kernel's own choice.

    Raises:
        InputError: If they describe none, or the kernel cannot be had. Flags that are missing are told first.
    """
    try:
        kernel = timed_kernel(request)
    except InputError:
        _refuse_missing(registry.load(request.kernel), values, m_values)
        raise
    if backend_of(request) == "replay":  # Recordings have what ours is timed on, whoever's kernel they are of.
        kernel, *_ = source.split(kernel)
    return problems(kernel, values, m_values)


def problems(kernel: str, values: Mapping[str, Any], m_values: tuple[int, ...]) -> list[Problem]:
    """Returns the problems that flags describe to a kernel, by its reference.

    Raises:
        InputError: If they describe none.
    """
    loaded = registry.load(kernel)
    try:
        return _problems(loaded, values, m_values)
    except MissingFlagError as error:
        raise _all_missing(loaded, values, m_values, error) from error


def _refuse_missing(kernel: AnyKernel, values: Mapping[str, Any], m_values: tuple[int, ...]) -> None:
    """Raises InputError if a kernel lacks flags, and for nothing else that is wrong with them."""
    try:
        _problems(kernel, values, m_values)
    except MissingFlagError as error:
        raise _all_missing(kernel, values, m_values, error) from error
    except InputError:
        pass


def _all_missing(
    kernel: AnyKernel, values: Mapping[str, Any], m_values: tuple[int, ...], first: MissingFlagError
) -> InputError:
    """Returns an error that names all flags that are missing, where a kernel names the first that it looks for."""
    missing = {first.flag: first}
    while True:
        try:
            _problems(kernel, {**values, **dict.fromkeys(missing, _ANY_SIZE)}, m_values)
        except MissingFlagError as error:
            if error.flag not in missing:
                missing[error.flag] = error
                continue
        except InputError:
            pass  # What else is wrong is told once these are there.
        if len(missing) == 1:
            return first
        return InputError(
            f"{one_of(error.shown for error in missing.values())}: not given; pass the sizes of the shape"
        )


def _problems(loaded: AnyKernel, values: Mapping[str, Any], m_values: tuple[int, ...]) -> list[Problem]:
    if not m_values:
        return loaded.problems_from_flags(values)
    if values.get("batch_size") or values.get("seq_length"):
        raise InputError("--m-values: give either it or --batch-size and --seq-length, not both")
    return [problem for m in m_values for problem in loaded.problems_from_flags({**values, "m": m})]


def describe_all(request: Request, wanted: list[Problem]) -> dict[str, StudySpec]:
    """Returns names and specs of the studies to be; a problem named twice is one study."""
    return dict(describe(request, problem) for problem in wanted)


def _describe_group(
    request: Request, kind: GroupKind, path: str, values: Mapping[str, Any], m_values: tuple[int, ...]
) -> dict[str, StudySpec]:
    members = kind.members[path]
    wanted = [problems_to_time(replace(request, kernel=name), values, m_values) for name in members]
    specs: dict[str, StudySpec] = {}
    for at_one_m in zip(*wanted, strict=True):
        described = [
            describe(replace(request, kernel=name), problem) for name, problem in zip(members, at_one_m, strict=True)
        ]
        group = _group_name(kind, path, *described[0])
        specs |= {name: replace(spec, group=group) for name, spec in described}
    return specs


def _group_name(kind: GroupKind, path: str, study: str, spec: StudySpec) -> str:
    """Names a group like its first member, whose problem and source they all share."""
    member = registry.load(spec.kernel).name
    _, origin, version = source.split(member)
    whose = kind.name if origin == source.BUILTIN else source.join(kind.name, origin, version)
    return f"{whose}-{path}-{study.removeprefix(f'{member}-')}"


def create_all(
    storage: BaseStorage,
    specs: Mapping[str, StudySpec],
    skip_if_exists: bool,
    on_created: Callable[[KernelStudy], None] = lambda study: None,
) -> list[str]:
    """Creates the studies, all or none; returns the names of all, new or not.

    Args:
        on_created: Is told of each new study.

    Raises:
        InputError: If one exists and may not be skipped, or exists with another meaning, or is another program's.
    """
    existing = set(studies.names(storage)) & set(specs)
    studies.check_free(storage, set(specs) - existing)
    if existing and not skip_if_exists:
        raise studies.exists_error(sorted(existing)[0])
    for name in sorted(existing):
        _check_same(studies.load(storage, name).spec, specs[name], name)
    for name, spec in specs.items():
        if name not in existing:
            on_created(studies.create(storage, name, spec))
    return list(specs)


def _difference(old: Any, new: Any) -> str:
    """Says how two values of a spec's JSON differ."""
    if not isinstance(old, dict):
        return f"{old}, now {new}"
    return ", ".join(f"{key} {old.get(key)}, now {new.get(key)}" for key in new if old.get(key) != new.get(key))


def _check_same(there: StudySpec, here: StudySpec, name: str) -> None:
    for field in ("space_fingerprint", "kernel_fingerprint", "environment", "settings", "group"):
        if getattr(there, field) != getattr(here, field):
            difference = _difference(to_json(there)[field], to_json(here)[field])
            raise InputError(
                f"study {name} exists with another {field.replace('_', ' ')} ({difference}); "
                f"remove it (study delete {name}) or give the new one a --tag"
            )
