"""Tells prompts and decode batches apart, which the server has one key for (contracts B1).

The two want other launches. Our kernels have a default for each: where an entry was timed on one kind alone, the other
runs the default.
"""

from __future__ import annotations

from typing import Final

from autotune.servers.sglang.facts import NAME

FEW_TOKENS: Final = 64
"""A batch of so many, or fewer, is taken for one of decode: as studies on an H100 and an H200 found, narrow blocks of
the shrink that take much of a row at a time are then faster (docs/results.md)."""
FEW_CAPTURED: Final = 256
"""So is a captured graph of so many: graphs of prompts begin about there."""

OF_OWN_KERNELS: Final = "mixed"
"""What the server's own kernels are timed on unless a user says otherwise: they launch prompts and decode batches with
one entry. Entries that were tuned on prompts alone ran their decode shrinks at 0.78x of the default's speed on an H200
(Qwen3-Embedding-0.6B, rank 64)."""

OTHER: Final = {"prefill": "decode", "decode": "prefill"}


def is_decode(tokens: int, is_captured: bool) -> bool:
    """Tells whether a batch is taken for one of decode."""
    return tokens <= (FEW_CAPTURED if is_captured else FEW_TOKENS)


def of_batch(tokens: int, is_captured: bool) -> str | None:
    """Returns the kind of a batch; None for a graph of many tokens, which may be one of prompts or of many requests."""
    if is_decode(tokens, is_captured):
        return "decode"
    return None if is_captured else "prefill"


def is_mixed(workload: str | None, source: str) -> bool:
    """Tells whether studies of a kernel time prompts and decode batches.

    Args:
        workload: What the user asks for; None leaves it to the kernel.
        source: Whose kernel it is: the server's name, or ``builtin``.
    """
    return (workload or (OF_OWN_KERNELS if source == NAME else None)) == "mixed"


def note(op: str, workload: str | None) -> str | None:
    """Tells what the plug-in makes of an op's entries that were timed on one kind of batches alone; None where they are
    launched with for both."""
    if workload not in OTHER:
        return None
    return (
        f"the plug-in runs its default of the {op} for {OTHER[workload]} batches: entries that were timed on "
        f"{workload} only have no say there"
    )
