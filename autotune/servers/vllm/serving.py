"""Checks the flags that vLLM accepts (contracts A5, A6)."""

from __future__ import annotations

from autotune.errors import InputError, one_of
from autotune.model.modules import ALL_MODULES
from autotune.servers.serving import Serving
from autotune.servers.vllm.facts import RANKS


def pool_rank(largest: int) -> int:
    """Returns the least rank that a server can be started with for adapters of up to this rank.

    Raises:
        InputError: If it takes none as large.
    """
    if largest > RANKS[-1]:
        raise InputError(f"--lora-path: got an adapter of rank {largest}, allowed: up to {RANKS[-1]}")
    return next(rank for rank in RANKS if rank >= largest)


def check(serving: Serving) -> None:
    """Makes sure that a server starts with these flags.

    Raises:
        InputError: If it does not; names the flag.
    """
    if words := sorted(set(serving.target_modules or ()) & set(ALL_MODULES)):
        raise InputError(f"--target-modules: got {one_of(words)}, which is no module to vLLM; leave it out for all")
    if serving.rank not in RANKS:
        raise InputError(
            f"--lora-rank: got {serving.rank}, allowed: {one_of(RANKS)}; pass the server's --max-lora-rank, "
            "adapters of a lower rank are padded to it"
        )
    if serving.fully_sharded and serving.dual_stream:
        raise InputError(
            "--dual-stream: a server with --fully-sharded-loras switches dual stream off; leave one of them out"
        )
    if serving.fully_sharded and serving.rank % serving.tp:
        raise InputError(
            f"--fully-sharded: --lora-rank {serving.rank} is no multiple of --tp {serving.tp}; raise the rank, or "
            "leave --fully-sharded out"
        )
