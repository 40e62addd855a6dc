"""Reads ``--lora-paths`` of a command that starts SGLang, which goes by the ranks and the modules of these adapters
(contracts B7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from autotune.untrusted import reading

FLAG: Final = "--lora-paths"
_ALLOWED: Final = 'adapters, each as PATH, NAME=PATH or {"lora_name": "NAME", "lora_path": "PATH"}'
_ADAPTER: Final = re.compile(r"\{[^{}]*\}|[^,{}][^,]*")
_IN_THEIR_PLACE: Final = frozenset({"--max-lora-rank", "--lora-target-modules"})
"""Flags with which the server asks no adapter for a rank or for modules."""


def paths(text: str) -> tuple[str, ...]:
    """Returns where the adapters are: a folder each, or a name on a hub.

    Args:
        text: The words behind the flag, with commas between.

    Raises:
        ValueError: If the server does not take them.
    """
    found = tuple(_path(word) for word in _ADAPTER.findall(text))
    if not all(found) or _ADAPTER.sub("", text).strip(","):
        raise ValueError(_ALLOWED)
    return found


def folders(text: str) -> tuple[Path, ...] | None:
    """Returns the adapters that are here; None if none is."""
    return tuple(Path(path) for path in paths(text) if Path(path).exists()) or None


def unread(words: Mapping[str, str]) -> str | None:
    """Tells which adapter would have to be read and is not here.

    Args:
        words: The words behind each flag of the command.
    """
    if FLAG not in words or words.keys() >= _IN_THEIR_PLACE:
        return None
    missing = [path for path in paths(words[FLAG]) if not Path(path).exists()]
    if not missing:
        return None
    return (
        f"got {FLAG} {missing[0]}, allowed: folders on this machine, since the server takes ranks and modules of its "
        "adapters; download it, or add --max-lora-rank and --lora-target-modules"
    )


def _path(word: str) -> str:
    if not word.startswith("{"):
        return word.partition("=")[2] if "=" in word else word
    found = reading.json_of(word)
    path = found.get("lora_path") if isinstance(found, dict) and "lora_name" in found else None
    return path if isinstance(path, str) else ""
