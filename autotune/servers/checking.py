"""Defines what checking a config folder asks of a server: whose files are there, what is wrong with them, what is
missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.contract import Call
from autotune.servers.finding import Effect, Finding
from autotune.servers.lookup import Failure, Lookup, Step
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape


@dataclass(frozen=True)
class Reader:
    """A server that may read a folder.

    Attributes:
        gpu: Its GPU, as file names spell it.
        triton: Its Triton version, where files are of one.
    """

    gpu: str
    triton: str | None = None


@dataclass(frozen=True)
class Known:
    """What is known of the servers that will read a folder.

    Attributes:
        serving: Their flags; None where nothing is known of them.
        shapes: What they look up; with flags, that is all.
        max_chunk: Their largest chunk of a batch, if they have chunks and it is known.
        by_plug_in: The folder is read by their plug-in alone, which runs a default where a lookup fails.
    """

    serving: Serving | None = None
    shapes: Sequence[Shape] = ()
    max_chunk: int | None = None
    by_plug_in: bool = False


@dataclass(frozen=True)
class Miss:
    """What is wrong where a lookup takes the entry of another key.

    Attributes:
        defect: As of a `Finding`.
        message: What is looked up and what is taken instead, without the layers that do it.
    """

    defect: str
    effect: Effect
    message: str


class Checker:
    """One server's side of checking files; this one is of a server whose files are not checked."""

    def readers(self, directory: Path) -> list[Reader]:
        """Lists the servers whose files are at their place in a config folder."""
        return []

    def check(self, directory: Path, known: Known) -> tuple[list[Finding], int]:
        """Finds the defects of all files in a config folder, and counts the files that are read.

        What a server does of them is told, whoever reads the folder (`config.check`).
        """
        return [], 0

    def plug_in_reads(self, op: str) -> bool:
        """Tells whether the server's plug-in has files of an op in the folder that it alone reads."""
        return True

    def miss(self, step: Step) -> Miss | None:
        """Tells what is wrong with a step that took the nearest key; None if nothing is."""
        return None

    def crash(self, failure: Failure, size: int) -> Effect:
        """Tells when a server that looks up this size of a batch dies of a failure."""
        return "crash at start"

    def contradictions(
        self, directory: Path, shapes: Sequence[Shape], size: int, lookup: Callable[[Call], Lookup]
    ) -> Iterator[Finding]:
        """Finds what the entries of different shapes contradict each other in, for batches of this size.

        Args:
            lookup: What a server finds in the folder.
        """
        return iter(())
