"""Describes one defect of a config file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Effect = Literal[
    "crash at start",
    "crash at request",
    "silent corruption",
    "silent wrong shape",
    "latency while serving",
    "slower",
    "ignored",
]
"""What a server does of it, the worst first."""

CRASHES: tuple[Effect, ...] = ("crash at start", "crash at request")

_EFFECTS: tuple[Effect, ...] = get_args(Effect)


@dataclass(frozen=True)
class Finding:
    """One defect.

    Attributes:
        file: Relative to the folder.
        key: Where in the file, outermost key first; ``*`` for any, or for those that the message lists.
        defect: Its name, for machines; the same for the same kind of defect.
        effect: What the server does.
        message: What is there, and what to do.
    """

    file: str
    key: tuple[str, ...]
    defect: str
    effect: Effect
    message: str

    @property
    def order(self) -> tuple[Any, ...]:
        key = tuple((0, int(k), "") if k.isdecimal() else (1, 0, k) for k in self.key)
        return (_EFFECTS.index(self.effect), self.file, key, self.defect, self.message)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
