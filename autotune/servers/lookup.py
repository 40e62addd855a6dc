"""Describes what a server's config lookup comes to, as plain data: the keys taken, the config found, or the failure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotune.contract import Value


@dataclass(frozen=True)
class Step:
    """One level of the lookup.

    Attributes:
        level: Name of the level, e.g. ``m``; also a name in the call's dims.
        wanted: The value the server compares with the keys.
        taken: The key it goes on with.
        match: ``exact``, or ``nearest`` for the key of least distance.
        ties: Other keys just as near; the server took `taken` only because it stands first in the file.
    """

    level: str
    wanted: int
    taken: str
    match: Literal["exact", "nearest"]
    ties: tuple[str, ...] = ()

    @property
    def skipped_empty(self) -> bool:
        """The key was there, but its value is empty, which the server takes for a miss."""
        return self.match == "nearest" and self.taken == str(self.wanted)


@dataclass(frozen=True)
class Failure:
    """How the server fails: it does not catch these, so the engine stops.

    Attributes:
        error: Name of the exception it raises, e.g. ``KeyError``.
        level: The level of the file to blame; ``file`` for unreadable JSON, ``config`` for the entry itself.
        key: The offending or missing key, where there is one.
        message: One line that says what is wrong and what to do.
    """

    error: str
    level: str
    key: str | None
    message: str


@dataclass(frozen=True)
class Lookup:
    """The outcome of one lookup: exactly one of `config` and `failure` is None.

    Attributes:
        origin: ``file``, or ``default`` where the server falls back on what it has built in.
        config: What the server launches with.
        steps: The levels passed, top down; up to the failing one if it fails.
        failure: What goes wrong, if anything does.
        path: The file looked at, whether it exists or not; None when no folder is in play.
        warnings: What the server does on the way that its user may not want; one line each.
    """

    origin: Literal["file", "default"]
    config: dict[str, Value] | None
    steps: tuple[Step, ...] = ()
    failure: Failure | None = None
    path: Path | None = None
    warnings: tuple[str, ...] = ()

    @property
    def key_path(self) -> tuple[str, ...]:
        """The keys taken, top down."""
        return tuple(step.taken for step in self.steps)

    @property
    def exact(self) -> bool:
        """The config in use was written for this very shape, by way of nothing to be warned of."""
        steps_exact = all(step.match == "exact" for step in self.steps)
        return self.origin == "file" and self.failure is None and steps_exact and not self.warnings


def is_integer(key: str) -> bool:
    """Tells whether a server can read the key as an integer; it is looked up by distance only then."""
    try:
        int(key)
    except ValueError:
        return False
    return True


def nearest(keys: Iterable[int], m: int) -> int:
    """Returns the key a server takes for m in a file whose keys ascend: of two just as near, the lower."""
    return min(sorted(keys), key=lambda key: abs(key - m))
