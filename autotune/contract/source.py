"""Tells whose kernel is timed: ours, or the one of a server that is installed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

BUILTIN: Final = "builtin"
"""The source of every kernel that is not a server's own."""

AUTO: Final = "auto"
SERVED: Final = "served"
SOURCES: Final = (AUTO, SERVED, BUILTIN)
"""What a user may ask for; ``auto`` takes the server's own where its package is installed."""

BOTH: Final = "both"
"""What a user may ask for besides where studies are made: a study of the server's own kernel, and one of ours."""

OWN_ASKED_FOR: Final = f"--source {SERVED} (or {BOTH})"
"""What asked for a server's own kernel, as errors name it: which of the two a command was given is known only there."""

SEPARATOR = "@"
"""Parts a kernel's name from its source: ``NAME@SERVER-VERSION``, or ``NAME@SERVER`` of the installed version."""


def split(reference: str) -> tuple[str, str, str]:
    """Returns the name, the source and the version (empty for the installed one) of a kernel's reference; a path to a
    file of the user's is left whole."""
    name, at, origin = reference.rpartition(SEPARATOR)
    if not at or ":" in origin:
        return reference, BUILTIN, ""
    source, _, version = origin.partition("-")
    return name, source, version


def join(name: str, source: str, version: str = "") -> str:
    """Returns the reference of a source's kernel."""
    return f"{name}{SEPARATOR}{source}{f'-{version}' if version else ''}"


@dataclass(frozen=True)
class Origin:
    """Where a served kernel comes from.

    Attributes:
        package: The server's package.
        source_hash: Hash of the modules that it is made of.
        unknown: Why the tool does not know this release; empty for a known one.
        requires: What the package asks for of what compiles it, e.g. ``torch==2.14.1``; empty where it does not say.
    """

    package: str
    version: str
    source_hash: str
    unknown: str = ""
    requires: str = ""

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


class ServedPackage(Protocol):
    """What a server's own kernel is made of, told without importing it."""

    def version(self) -> str:
        """Returns the installed version.

        Raises:
            NotInstalledError: If it is not installed.
            InputError: If it is there in several versions.
        """

    def origin(self) -> Origin:
        """Returns the installed version, the hash of the kernel's modules, and whether they are known.

        Raises:
            InputError: As `version`, or if a module is not there.
        """
