"""Writes into a server's log what the plug-in tells: warnings, each of them once a process."""

from __future__ import annotations

import logging
from typing import Final

from autotune.untrusted.printing import printable

_LOG: Final = logging.getLogger("lora_autotune")
_told: Final[set[str]] = set()


def one_line(error: Exception) -> str:
    """Says what an error is, with the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def warn_once(message: str) -> None:
    """Logs a line at warning level, which servers show by default, unless this process has had it already."""
    if message not in _told:
        _told.add(message)
        _LOG.warning("%s", printable(f"lora-autotune: {message}"))
