"""Asks the server's own groups how many GPUs its process shares its work with."""

from __future__ import annotations

import sys
from typing import Final

TP: Final = "tp"
"""The detail of a traced lookup that says over how many GPUs each layer is shared out."""

EXPERT_GPUS: Final = "expert_gpus"
"""The detail that says over how many GPUs whole experts would be."""


def size(module: str, getter: str) -> int | None:
    """Returns the size of a group; None where the process has none, or has not told it yet.

    Args:
        module: The server's module of groups, which is not imported if the server has not.
        getter: Its function that returns the group.
    """
    try:
        found = getattr(sys.modules[module], getter)().world_size
    except Exception:  # of whatever kind: a recording goes on without it
        return None
    return found if type(found) is int and found > 0 else None


def details(**groups: int | None) -> tuple[tuple[str, int], ...]:
    """Returns the details of those that are known."""
    return tuple((name, count) for name, count in groups.items() if count is not None)
