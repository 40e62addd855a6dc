"""Says what a user should know of a plan, whatever the server."""

from __future__ import annotations

from collections.abc import Iterator

from autotune.servers.serving import Serving

_HIGH_RANK = 64


def rank_advice(serving: Serving) -> Iterator[str]:
    """Says it where a lower rank would gain more than tuning does."""
    if serving.rank >= _HIGH_RANK:
        yield (
            f"Rank {serving.rank} is computed for every adapter, whatever its own: set --max-lora-rank no higher than "
            "your adapters' (--lora-path reads it off them)."
        )
