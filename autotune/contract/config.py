"""Defines configs: one value for each tuning parameter of a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = int | None
"""One value of a tuning parameter. None means "leave it to the compiler" (an unset ``maxnreg``)."""

Config = Mapping[str, Value]
"""One assignment of the tuning parameters, spelled as the server spells them, e.g. ``{"block_m": 16, ...}``."""

ConfigKey = tuple[tuple[str, Value], ...]
"""A config's names and values, sorted by name: hashable, and equal for equal configs whatever their order."""


def config_key(config: Config) -> ConfigKey:
    """Returns the canonical form of a config, to compare and to look up by; ``dict`` of it is the config again."""
    return tuple(sorted(config.items()))


@dataclass(frozen=True)
class Parameter:
    """A tuning parameter and the values it may take, in ascending order (None first)."""

    name: str
    values: tuple[Value, ...]
