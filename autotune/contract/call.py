"""Defines calls: what a server looks up when it launches a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CallKey = tuple[str, str, tuple[tuple[str, int], ...]]
"""A call's server, op, and sizes sorted by name: hashable, and equal for calls that look up the same."""


@dataclass(frozen=True)
class Call:
    """What the server looks up when it launches a problem: the server, its op, and the sizes its lookup compares.

    Attributes:
        dims: The values as the server computes them (``max_loras`` with one more, if it counts the base model).
        triton: The Triton version to serve with, for a server whose files belong to one; None for the installed one.
    """

    server: str
    op: str
    dims: Mapping[str, int]
    triton: str | None = None

    @property
    def key(self) -> CallKey:
        """The canonical form, to compare and to look up by; the Triton version is no part of it."""
        return (self.server, self.op, tuple(sorted(self.dims.items())))

    def to_json(self) -> dict[str, Any]:
        version = {"triton": self.triton} if self.triton else {}
        return {"runtime": self.server, "op": self.op, "dims": dict(self.dims), **version}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Call:
        """Reads what `to_json` gave.

        Raises:
            Exception: One of several, if it is something else.
        """
        texts, dims = [data["runtime"], data["op"], data.get("triton") or ""], data["dims"]
        if not all(isinstance(each, str) for each in texts) or not all(type(size) is int for size in dims.values()):
            raise TypeError(f"got {data!r}, allowed: the names of a server and an op, and sizes")
        return cls(data["runtime"], data["op"], dict(data["dims"]), data.get("triton"))
