"""Lists the token counts that vLLM captures CUDA graphs for, and says what follows from them (contracts A7)."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.errors import InputError, one_of
from autotune.servers.batches import Batches
from autotune.servers.finding import Effect
from autotune.servers.vllm.asked_captures import asked
from autotune.servers.vllm.facts import MAX_CAPTURE

_STEPS = (1, 2, 4, *range(8, 256, 8), *range(256, 8193, 16))


def capture_sizes(max_num_seqs: int, max_num_batched_tokens: int, decode_tokens: int = 1) -> tuple[int, ...]:
    """Returns the captured token counts, ascending; in decode, m is always one of them.

    Args:
        decode_tokens: Of each request in a decode step; uniform steps are captured as such.

    The server also captures ``max_num_batched_tokens`` where that is no larger than the largest. It is not listed here:
    it is tuned in any case, as the largest prefill, and batches between it and the one before count unpadded.
    """
    largest = min(2 * max_num_seqs * decode_tokens, MAX_CAPTURE)
    requests = {max_num_seqs}
    if decode_tokens > 1:
        requests |= {count for count in _STEPS if count <= min(max_num_seqs, MAX_CAPTURE)}
    sizes = {*_STEPS, *(count * decode_tokens for count in requests)}
    return tuple(size for size in sorted(sizes) if size <= min(largest, max_num_batched_tokens))


def captured_by(batches: Batches) -> tuple[int, ...]:
    """Returns the captured token counts of a server with these flags: those given, else by the installed server's own
    rule, else by that of the release that the tables are of. Of a server that captures none, those that another would.

    Raises:
        InputError: If all that are given are larger than any batch.
    """
    limit, own = batches.max_num_batched_tokens, (batches.max_num_seqs, batches.max_num_batched_tokens)
    if batches.enforce_eager:
        return capture_sizes(*own, batches.decode_tokens)
    if batches.cudagraph_capture_sizes:
        if sizes := tuple(sorted({size for size in batches.cudagraph_capture_sizes if size <= limit})):
            return sizes
        raise InputError(
            f"--cudagraph-capture-sizes: got {one_of(batches.cudagraph_capture_sizes)}, all above "
            f"--max-num-batched-tokens {limit}, with which vLLM does not start; give one below"
        )
    largest = batches.max_cudagraph_capture_size
    if (found := asked(*own, largest, batches.num_speculative_tokens)) is not None:
        return found
    sizes = capture_sizes(*own, batches.decode_tokens)
    return sizes if largest is None else tuple(size for size in _STEPS if size <= min(largest, limit))


def fewest_uncaptured(batches: Batches) -> int:
    """Returns the fewest tokens of a batch that no CUDA graph is captured for.

    Raises:
        InputError: As `captured_by`.
    """
    return 1 if batches.enforce_eager else max(captured_by(batches), default=0) + 1


def padded(tokens: int, captured: Sequence[int]) -> int:
    """Returns the rows that a batch of so many tokens runs with: it is padded to the next captured size, if any."""
    return next((size for size in captured if size >= tokens), tokens)


def crash(m: int | None) -> Effect:
    """Tells when a lookup of m tokens crashes: captured ones at start, larger ones when a batch needs them."""
    return "crash at request" if m is not None and m > MAX_CAPTURE else "crash at start"
