"""Knows which of our kernels have one default for prompts and another for decode batches: where an entry was timed on
one kind alone, the other runs its default, though the server has one key for both (contracts B1)."""

from __future__ import annotations

from typing import Final

BY_WORKLOAD: Final = ("shrink",)
"""The ops whose entries are read by what they were timed on."""

_OTHER: Final = {"prefill": "decode", "decode": "prefill"}


def note(op: str, workload: str | None) -> str | None:
    """Tells what the plug-in makes of an op's entries that were timed on one kind of batches alone; None where they are
    launched with for both."""
    if op not in BY_WORKLOAD or workload not in _OTHER:
        return None
    return (
        f"the plug-in runs its default of the {op} for {_OTHER[workload]} batches: entries that were timed on "
        f"{workload} only have no say there"
    )
