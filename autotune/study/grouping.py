"""Sorts studies by what is run and decided together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from autotune.study.spec import StudySpec


class Grouped(Protocol):
    """Whatever has the name and the spec of a study."""

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> StudySpec: ...


Study = TypeVar("Study", bound=Grouped)


def by_group(chosen: Iterable[Study]) -> list[list[Study]]:
    """Sorts studies by what is run and decided together: the members of each group, every other study by itself."""
    found: dict[tuple[str, str], list[Study]] = {}
    for study in chosen:
        key = ("study", study.name) if study.spec.group is None else ("group", study.spec.group)
        found.setdefault(key, []).append(study)
    return list(found.values())
