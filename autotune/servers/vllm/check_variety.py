"""Finds shapes with more configs than are worth compiling (contracts A8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.servers.vllm.check_levels import Key, Walk

MOST_CONFIGS = 32
"""Of one shape: twice as many as a plan has m for the largest batches, 131,072 tokens, one for about each doubling. It
may add some where a default changes or traffic peaks; a file with more follows the noise between neighbours."""


def check(made: Walk, launched: Mapping[Key, Mapping[str, Any]]) -> None:
    """Notes where a shape of the file changes its config with almost every m.

    Args:
        launched: What the server launches with by its entries, without the parameters that it ignores.
    """
    configs: dict[Key, set[str]] = {}
    for key, config in launched.items():
        configs.setdefault((*key[:2], "*", *key[3:]), set()).add(repr(sorted(config.items())))
    many = {shape: len(found) for shape, found in configs.items() if len(found) > MOST_CONFIGS}
    if many:
        worst = max(many, key=lambda shape: many[shape])
        message = (
            f"{'/'.join(worst)} has {many[worst]} distinct configs, allowed: {MOST_CONFIGS} a shape (too many in "
            f"{len(many)}): a server compiles each at its first launch, while requests wait where m is not captured; "
            "keep fewer m"
        )
        made.add((), "many configs", "latency while serving", message)
