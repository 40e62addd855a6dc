"""The token counts that vLLM captures CUDA graphs for, and what follows from them (contracts A7)."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.servers.finding import Effect
from autotune.servers.vllm.facts import MAX_CAPTURE


def capture_sizes(max_num_seqs: int, max_num_batched_tokens: int) -> tuple[int, ...]:
    """Returns the captured token counts, ascending; in decode, m is always one of them.

    The server also captures ``max_num_batched_tokens`` where that is no larger than the largest. It is not listed here:
    it is tuned in any case, as the largest prefill, and batches between it and the one before count unpadded.
    """
    largest = min(2 * max_num_seqs, MAX_CAPTURE, max_num_batched_tokens)
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)]
    return tuple(size for size in sizes if size <= largest)


def padded(tokens: int, captured: Sequence[int]) -> int:
    """Returns the rows that a batch of so many tokens runs with: it is padded to the next captured size, if any."""
    return next((size for size in captured if size >= tokens), tokens)


def crash(m: int | None) -> Effect:
    """Tells when a lookup of m tokens crashes: captured ones at start, larger ones when a batch needs them."""
    return "crash at request" if m is not None and m > MAX_CAPTURE else "crash at start"
