"""Lists the chunk sizes worth tuning for SGLang."""

from __future__ import annotations

from autotune.errors import InputError, one_of
from autotune.servers.batches import Batches, BatchSizes
from autotune.servers.sglang.chunks import chunk_size, reachable
from autotune.servers.sglang.facts import CHUNK_SIZES


def sizes(batches: Batches) -> BatchSizes:
    """Finds the chunk sizes that occur, and those to tune with their weights.

    Raises:
        InputError: If one is asked for that no server has.
    """
    largest, wanted = batches.max_lora_chunk_size, batches.chunk_sizes
    occurring = reachable(largest)
    if bad := [size for size in wanted if size not in CHUNK_SIZES]:
        raise InputError(f"--chunk-sizes: got {one_of(bad)}, allowed: {one_of(CHUNK_SIZES)}")
    if not batches.traffic:
        return BatchSizes(occurring, dict.fromkeys(sorted(wanted or occurring), 1.0))
    shares = dict.fromkeys(sorted({*occurring, *wanted}), 0.0)
    total = sum(batches.traffic.values())
    for tokens, weight in batches.traffic.items():
        shares[chunk_size(tokens, largest)] += weight / total
    return BatchSizes(occurring, {size: share for size, share in shares.items() if size in (wanted or occurring)})
