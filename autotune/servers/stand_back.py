"""Knows entries that leave a call to the server's own kernel, which was faster there: in the plug-in's folder, all
zeros.

Such an entry is found by the server's lookup rule as any other, for batches near its own, too. No server reads that
folder, and no kernel launches with zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from autotune.contract import Value

WHY: Final = "files say that it is the faster one"
"""Why the server's own kernel runs there."""

MEANING: Final = "zeros, by which the plug-in leaves the call to what was faster"
"""What a reader of files is told of such an entry."""


def entry(keys: Iterable[str]) -> dict[str, Value]:
    """Returns the entry, of these keys."""
    return dict.fromkeys(keys, 0)


def is_one(config: Mapping[str, Any]) -> bool:
    """Tells whether an entry is one of these."""
    return bool(config) and all(type(value) is int and value == 0 for value in config.values())
