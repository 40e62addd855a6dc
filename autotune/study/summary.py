"""Sums a study up: what it is about and what became of it. Its trials, which take long to read, stay out."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.study.result import GroupResult, StudyResult
from autotune.study.spec import StudySpec


@dataclass(frozen=True)
class StudySummary:
    """One study, as `study show --json` prints it and docs/data keeps it.

    Attributes:
        result: None while the study is unfinished.
        group_result: None while its group is unfinished, or if it is of none.
    """

    name: str
    spec: StudySpec
    result: StudyResult | None
    group_result: GroupResult | None = None
