"""A config file as it stands, keys given twice and all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.lint.finding import Finding


@dataclass(frozen=True)
class Content:
    """What a file holds, or why it cannot be read.

    Attributes:
        data: The parsed content; None for ``null``, and if there is no telling.
        findings: Of the reading itself.
    """

    file: str
    data: Any
    findings: tuple[Finding, ...]

    @property
    def readable(self) -> bool:
        return self.data is not None or not self.findings


def read(path: Path, directory: Path) -> Content:
    """Read a file; a server that cannot parse it dies of it."""
    file = path.relative_to(directory).as_posix()
    twice: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.extend(name for name in dict.fromkeys(names) if names.count(name) > 1)
        return dict(pairs)

    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=collect)
    except (OSError, ValueError, RecursionError) as error:
        message = f"cannot be read as JSON ({str(error) or type(error).__name__}); repair or remove it"
        return Content(file, None, (Finding(file, (), "no JSON", "crash at start", message),))
    doubled = (
        Finding(file, (name,), "key twice", "ignored", "stands twice in one object: the last one counts; remove one")
        for name in dict.fromkeys(twice)
    )
    return Content(file, data, tuple(doubled))
