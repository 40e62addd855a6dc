"""Reads what the server's own engine took with an export and without, as `bench serve` told it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.contract.converter import from_json
from autotune.errors import InputError
from autotune.servers.files import read_json
from autotune.servers.provenance import PROOF_NAME


@dataclass(frozen=True)
class ServedCell:
    """One variant in one phase.

    Attributes:
        above_off_ms: Milliseconds above LoRA off; None without that variant.
        against_default: How it compares with the server's defaults; None for these and for what is no rival.
    """

    variant: str
    phase: str
    ms: float
    above_off_ms: float | None
    tokens_per_s: float
    against_default: str | None

    def __post_init__(self) -> None:
        for value in (self.ms, self.tokens_per_s, 0 if self.above_off_ms is None else self.above_off_ms):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"got {value!r}, allowed: a number")


@dataclass(frozen=True)
class ServedTimes:
    """The table of a run of the server's engine.

    Attributes:
        variants: What each variant is, by its letter.
        verdicts: What to know of the times, one line each.
    """

    model: str
    gpu: str
    versions: Mapping[str, str]
    variants: Mapping[str, str]
    cells: tuple[ServedCell, ...]
    verdicts: tuple[str, ...]

    @property
    def about(self) -> str:
        """The model, the machine and the versions that the times are of."""
        return f"{self.model} on {self.gpu}, {', '.join(f'{name} {text}' for name, text in self.versions.items())}"


def read_served(directory: Path) -> ServedTimes:
    """Reads the table that an export's folder holds.

    Raises:
        InputError: If there is none, or the file is of something else.
    """
    path = directory / PROOF_NAME
    if not path.exists():
        raise InputError(
            f"--dir: {directory} has no {PROOF_NAME}; tune --prove writes one, and bench serve --json prints one"
        )
    data: Any = read_json(path)
    try:
        return from_json(ServedTimes, data)
    except Exception as error:  # cattrs has no common type for what can be wrong with the data
        raise InputError(
            f"{path}: not a table of bench serve ({type(error).__name__}: {error}); write it again with tune --prove"
        ) from error
