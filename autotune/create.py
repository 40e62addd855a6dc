"""From flags to studies: one problem per token count, described first, stored only when all of them are sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.storages import BaseStorage

from autotune import registry, study
from autotune.errors import InputError
from autotune.kernel import Problem
from autotune.report.note import study_note
from autotune.specs import Request, describe
from autotune.study import StudySpec


def problems(kernel: str, values: Mapping[str, Any], m_values: tuple[int, ...]) -> list[Problem]:
    """The problems that flags describe.

    Raises:
        InputError: If they describe none.
    """
    loaded = registry.load(kernel)
    if not m_values:
        return loaded.problems_from_flags(values)
    if values.get("batch_size") or values.get("seq_length"):
        raise InputError("--m-values: give either it or --batch-size and --seq-length, not both")
    return [problem for m in m_values for problem in loaded.problems_from_flags({**values, "m": m})]


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
    import optuna_dashboard  # takes a second to load

    for name, spec in specs.items():
        if name not in existing:
            made = study.create(storage, name, spec)
            optuna_dashboard.save_note(made.study, study_note(made))
    return list(specs)


def _difference(old: Any, new: Any) -> str:
    if not isinstance(old, dict):
        return f"{old}, now {new}"
    return ", ".join(f"{key} {old.get(key)}, now {new.get(key)}" for key in new if old.get(key) != new.get(key))


def _check_same(there: StudySpec, here: StudySpec, name: str) -> None:
    for field in ("space_fingerprint", "kernel_fingerprint", "environment", "settings"):
        old, new = getattr(there, field), getattr(here, field)
        if old != new:
            raise InputError(
                f"study {name} exists with another {field.replace('_', ' ')} ({_difference(old, new)}); "
                f"remove it (study delete {name}) or give the new one a --tag"
            )
