"""From flags to studies: one problem per token count, described first, stored only when all of them are sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.storages import BaseStorage

from autotune import registry, study
from autotune.errors import InputError
from autotune.kernel import Problem
from autotune.specs import Request, describe
from autotune.study import StudySpec


def problems(kernel: str, values: Mapping[str, Any], m_values: tuple[int, ...]) -> list[Problem]:
    """The problems that flags describe.

    Raises:
        InputError: If they describe none.
    """
    loaded = registry.load(kernel)
    if not m_values:
        return [loaded.problem_from_flags(values)]
    if values.get("batch_size") or values.get("seq_length"):
        raise InputError("--m-values: give either it or --batch-size and --seq-length, not both")
    return [loaded.problem_from_flags({**values, "m": m}) for m in m_values]


def describe_all(request: Request, wanted: list[Problem]) -> dict[str, StudySpec]:
    """Names and specs of the studies to be; a problem named twice is one study."""
    return dict(describe(request, problem) for problem in wanted)


def create_all(storage: BaseStorage, specs: Mapping[str, StudySpec], skip_if_exists: bool) -> list[str]:
    """Create the studies, all or none; returns the names of all, new or not.

    Raises:
        InputError: If one exists and may not be skipped, or exists with another meaning.
    """
    existing = set(study.names(storage)) & set(specs)
    if existing and not skip_if_exists:
        raise study.exists_error(sorted(existing)[0])
    for name in sorted(existing):
        _check_same(study.load(storage, name).spec, specs[name], name)
    for name, spec in specs.items():
        if name not in existing:
            study.create(storage, name, spec)
    return list(specs)


def _check_same(there: StudySpec, here: StudySpec, name: str) -> None:
    for field in ("space_fingerprint", "kernel_fingerprint", "environment", "settings"):
        old, new = getattr(there, field), getattr(here, field)
        if old != new:
            raise InputError(
                f"study {name} exists with another {field.replace('_', ' ')} ({old}, now {new}); "
                f"remove it (study delete {name}) or give the new one a --tag"
            )
