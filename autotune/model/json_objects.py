"""Reads the JSON files that models and adapters come with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.errors import InputError
from autotune.untrusted import reading


def read_object(file: Path, flag: str, remedy: str) -> dict[str, Any]:
    """Returns the JSON object that a file holds.

    Args:
        flag: The flag that named the file, or its folder, for messages.
        remedy: What the user should do if the file holds none.

    Raises:
        InputError: If the file cannot be read or holds anything else.
    """
    try:
        data = reading.read_json(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{flag}: cannot read {file} ({error}); {remedy}") from error
    if not isinstance(data, dict):
        raise InputError(f"{flag}: {file} holds no JSON object; {remedy}")
    return data
