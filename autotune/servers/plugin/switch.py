"""Reads the switch: which families of ops a user wants ours for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from autotune.servers.places import SWITCH

FAMILIES: Final = ("dense", "moe")
"""Families of ops; the switch lists those that are wanted, or is 1 for all."""

_ALL: Final = "1"
_OFF: Final = ("", "0")


@dataclass(frozen=True)
class Switch:
    """What the switch says.

    Attributes:
        families: Those wanted; none where it is off.
        unknown: Words that are no family, which are ignored.
    """

    families: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()

    @property
    def ignored(self) -> str:
        """One line about the words that are ignored; empty if there is none."""
        if not self.unknown:
            return ""
        allowed = ", ".join((_ALL, *FAMILIES))
        return f"{SWITCH}: got {', '.join(map(repr, self.unknown))}, allowed: {allowed}; ignored"


def read() -> Switch:
    """Returns what the switch says in this process's environment."""
    words = [word.strip().lower() for word in os.environ.get(SWITCH, "").split(",")]
    families = FAMILIES if _ALL in words else [word for word in words if word in FAMILIES]
    unknown = [word for word in words if word not in (*FAMILIES, *_OFF, _ALL)]
    return Switch(frozenset(families), tuple(dict.fromkeys(unknown)))
