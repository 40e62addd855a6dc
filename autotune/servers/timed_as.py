"""Tells what the entries of config files were timed on: whose kernel, of which release and sources, by which
compiler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autotune.contract.source import split
from autotune.servers import places, provenance
from autotune.servers.provenance import Record


@dataclass(frozen=True, order=True)
class TimedAs:
    """What an entry was timed on; empty is what its side-car does not tell.

    Attributes:
        source: ``builtin``, or the server whose own kernel it is.
        kernel: The kernel's reference, as its study has it.
        source_hash: Of the kernel's sources.
    """

    source: str
    kernel: str
    source_hash: str
    torch: str
    triton: str

    @classmethod
    def of(cls, record: Record) -> TimedAs | None:
        """Reads it off a record, which anybody may have edited; None for an entry without a study."""
        about = record.provenance
        environment = about.get("environment")
        machine = environment if isinstance(environment, Mapping) else {}
        if record.source is None:
            return None
        texts = (about.get("kernel"), about.get("kernel_fingerprint"), machine.get("torch"), machine.get("triton"))
        return cls(record.source, *(text if isinstance(text, str) else "" for text in texts))

    @property
    def version(self) -> str:
        """The server's release; empty for a built-in kernel."""
        return split(self.kernel)[2]

    def __str__(self) -> str:
        parts = [
            self.version,
            f"sources {self.source_hash}" if self.source_hash else "",
            f"Triton {self.triton}" if self.triton else "",
        ]
        known = ", ".join(part for part in parts if part)
        return f"{self.source} kernel" + (f" ({known})" if known else "")

    def to_json(self) -> dict[str, Any]:
        """Has null for what is not known."""
        return {name: value or None for name, value in (asdict(self) | {"version": self.version}).items()}


def timed_as(directory: Path) -> dict[str, list[TimedAs]]:
    """Says of each file that the side-cars of an output folder know what its entries were timed on.

    Raises:
        InputError: If a side-car is malformed.
    """
    found: dict[str, list[TimedAs]] = {}
    for folder in places.folders(directory):
        found |= timed_in(folder, directory)
    return dict(sorted(found.items()))


def timed_in(folder: Path, directory: Path) -> dict[str, list[TimedAs]]:
    """Says it of the files that the side-car of this one folder knows, by their names in the output folder.

    Raises:
        InputError: If the side-car is malformed.
    """
    found: dict[str, set[TimedAs]] = {}
    for record in provenance.read(folder):
        timed = TimedAs.of(record)
        if timed is not None and record.kind != "dropped":
            found.setdefault((folder / record.file).relative_to(directory).as_posix(), set()).add(timed)
    return {name: sorted(timed) for name, timed in sorted(found.items())}


def told(timed: list[TimedAs]) -> str:
    """Says in a few words what the entries of a file were timed on: alike for all kernels of one package."""
    return "; ".join(dict.fromkeys(map(str, timed)))
