"""Knows the keys of entries that our kernels read and the server's do not: they stand in the plug-in's folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from autotune.contract import Config, Value
from autotune.servers.sglang import facts

SEGMENTS: Final = "SEGMENTS"
"""Of a shrink: how many neighbouring segments one of its blocks takes."""

_WITHOUT: Final[Mapping[str, Mapping[str, int]]] = {"shrink": {SEGMENTS: 1}, "expand": {}}
"""By op, the keys, and what they are where an entry lacks them."""


def of(op: str) -> tuple[str, ...]:
    """Lists the keys of an op."""
    return tuple(_WITHOUT[op])


def read(op: str, by_plug_in: bool) -> tuple[str, ...]:
    """Lists all keys of an op that are read, in the order of an entry.

    Args:
        by_plug_in: By our kernel, not by the server's.
    """
    return (*facts.keys(op), *(of(op) if by_plug_in else ()))


def spelled(config: Config, op: str) -> dict[str, Value]:
    """Returns the keys of an op that an entry of a config needs: without them it is as before there were any."""
    told = {key: config[key] for key in of(op) if config.get(key) is not None}
    return {key: value for key, value in told.items() if value != _WITHOUT[op][key]}


def without(config: Config) -> dict[str, Value]:
    """Returns a config as the server's own kernels take it."""
    ours = {key for keys in _WITHOUT.values() for key in keys}
    return {key: value for key, value in config.items() if key not in ours}
