"""Knows the chunk sizes that SGLang launches its csgmv kernels with, and advises on tuning them (contracts B2)."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.errors import InputError, one_of
from autotune.servers.sglang.facts import CHUNK_SIZES, CHUNK_STEPS, DEFAULT_MAX_CHUNK


def chunk_size(tokens: int, max_chunk: int = DEFAULT_MAX_CHUNK) -> int:
    """Returns the chunk size of a batch of this many tokens on a server started with ``--max-lora-chunk-size``.

    Raises:
        InputError: If the flag does not take this value.
    """
    if max_chunk not in CHUNK_SIZES:
        raise InputError(f"--max-lora-chunk-size: got {max_chunk}, allowed: {one_of(CHUNK_SIZES)}")
    wanted = max(size for least_tokens, size in CHUNK_STEPS if tokens >= least_tokens)
    return min(wanted, max_chunk)


def reachable(max_chunk: int = DEFAULT_MAX_CHUNK) -> tuple[int, ...]:
    """Lists the chunk sizes such a server ever launches with, ascending."""
    return tuple(sorted({chunk_size(tokens, max_chunk) for tokens, _ in CHUNK_STEPS}))


def sizes_of(tokens: int) -> tuple[int, ...]:
    """Lists the chunk sizes that some server launches a batch of so many tokens with, ascending."""
    return tuple(sorted({chunk_size(tokens, max_chunk) for max_chunk in CHUNK_SIZES}))


def advice(tuned: Iterable[int]) -> list[str]:
    """Tells what to know before serving with files that have entries for these chunk sizes; one line each."""
    entries = sorted(set(tuned))
    flags_by_use: dict[str, list[str]] = {}
    for max_chunk in CHUNK_SIZES:
        used = one_of(str(chunk) for chunk in reachable(max_chunk) if chunk in entries) or "none"
        note = " (its default)" if max_chunk == DEFAULT_MAX_CHUNK else ""
        flags_by_use.setdefault(used, []).append(f"{max_chunk}{note}")
    lines = [
        f"--max-lora-chunk-size {one_of(flags)}: of these entries the server reads {used}."
        for used, flags in flags_by_use.items()
    ]
    return [
        *lines,
        "Raise that flag first, if prefill counts: in SGLang's PR 20391 it was worth +21% of throughput, while tuning "
        "was worth +12.6% at chunk size 16 and about +2.6% at 128.",
    ]
