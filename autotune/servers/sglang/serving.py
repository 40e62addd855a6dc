"""The flags that SGLang's csgmv backend accepts, and what it wraps by them (contracts B4)."""

from __future__ import annotations

from autotune.errors import InputError
from autotune.model.wrapping import Wrapping
from autotune.servers.serving import Serving


def check(serving: Serving) -> None:
    """Makes sure that no flag is given that the backend does not have.

    Raises:
        InputError: If one is; names it.
    """
    for flag, given in (
        ("--fully-sharded", serving.fully_sharded),
        ("--ep", serving.expert_parallel),
        ("--dual-stream", serving.dual_stream),
    ):
        if given:
            raise InputError(f"{flag}: SGLang's csgmv backend has no such mode; leave it out")


def wrapping(serving: Serving) -> Wrapping:
    """Returns what a server wraps: a packed qkv or gate_up part by part, no routers, embeddings only where they are
    named; each GPU keeps its shard of lm_head (contracts B4)."""
    return Wrapping(
        tp=serving.tp,
        targets=serving.target_modules,
        embeddings=serving.target_modules or (),
        head_shards=serving.tp,
    )
