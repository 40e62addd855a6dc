"""Tells which kernels vLLM runs for the LoRA of experts (contracts A6)."""

from __future__ import annotations

from autotune.servers.vllm import facts


def server_path(rank: int, fully_sharded: bool) -> facts.ServerPath:
    """Tells which kernels run, unless the batch is so small that `small_batch` holds."""
    return facts.ONE_SHOT if rank <= facts.ONE_SHOT_RANKS and not fully_sharded else facts.TWO_KERNEL


def naive(pairs: int, experts: int, max_loras: int) -> bool:
    """Tells whether pairs of a token and an expert are too few to be worth sorting: each is a block of its own.

    Servers that are fully sharded, or spread whole experts over GPUs, sort them in any case.
    """
    return pairs * facts.NAIVE_SHARE <= experts * max_loras


def small_batch(rank: int, pairs: int, naive: bool) -> bool:
    """Tells whether the small-batch kernel runs, which reads no config at all.

    Args:
        pairs: Tokens times top_k.
        naive: The pairs are not sorted; never so if fully sharded.
    """
    return naive and rank <= facts.SMALL_BATCH_RANKS and pairs * rank <= facts.SMALL_BATCH_SIZE
