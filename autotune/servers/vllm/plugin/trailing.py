"""Fills in the last arguments of an op's call: torch hands over none that equal their defaults (contracts A14)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def with_defaults(given: Sequence[Any], defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the arguments given, with the defaults of those that are missing at the end."""
    return (*given, *defaults[len(given) :])
