"""Reads what a script left in docs/data: its studies, and what else it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.contract.converter import from_json
from autotune.study.result import StudyResult
from autotune.study.summary import StudySummary


@dataclass(frozen=True)
class Run:
    """What one script left in docs/data.

    Attributes:
        name: The file's, without its ending.
        about: All that it says besides the studies.
    """

    name: str
    about: Mapping[str, Any]
    studies: list[StudySummary]


def read(file: Path) -> Run:
    about = json.loads(file.read_text())
    return Run(file.stem, about, from_json(list[StudySummary], about.pop("studies")))


def finished(studies: list[StudySummary]) -> list[tuple[StudySummary, StudyResult]]:
    """Returns the studies that have a result, with it."""
    return [(study, study.result) for study in studies if study.result]


def versions_text(environment: Mapping[str, Any]) -> str:
    """Says which versions a measurement ran with."""
    return ", ".join(f"{name} {value}" for name, value in environment.items() if name != "gpu")


def environment_text(environment: Mapping[str, Any]) -> str:
    """Says on which GPU a measurement ran, and with which versions."""
    return f"{environment['gpu']} ({versions_text(environment)})"


def machine_text(study: StudySummary) -> str:
    return environment_text(study.spec.environment.known)


def label(study: StudySummary) -> str:
    """Names the study without its GPU."""
    gpu = study.spec.environment.gpu.replace(" ", "_").replace("-", "_")
    return study.name.split(f"-{gpu}")[0]
