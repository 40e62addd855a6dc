"""Checks names that become part of a file's or a study's name, in one place."""

from __future__ import annotations

from pathlib import PurePosixPath

from autotune.errors import InputError
from autotune.untrusted.printing import shortened

MOST_CHARACTERS = 100
"""Longest name that becomes part of a file's; file systems allow 255 bytes for all parts together."""

MOST_FILE_BYTES = 200
"""Longest name of a file; 255 bytes less what a temporary file's adds."""


def check_name(name: object, what: str) -> str:
    """Returns a name, such as a GPU's, that may become part of a file's.

    Args:
        what: What it names and where it stands, for messages.

    Raises:
        InputError: If it is no text, is empty or over-long, or holds separators or control characters.
    """
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= MOST_CHARACTERS
        or not name.isprintable()
        or name in (".", "..")
        or any(separator in name for separator in "/\\")
    ):
        allowed = f"1 to {MOST_CHARACTERS} printable characters, no / or \\"
        raise InputError(f"{what}: got {shortened(name)}, allowed: {allowed}; fix it")
    return name


def check_relative(path: str, what: str) -> str:
    """Returns the path of a file that is to be written, which leads nowhere but below its folder.

    Raises:
        InputError: If it does not.
    """
    parts = path.split("/")
    if PurePosixPath(path).is_absolute() or any(
        part in ("", ".", "..") or not part.isprintable() or len(part.encode()) > MOST_FILE_BYTES for part in parts
    ):
        raise InputError(f"{what}: got {shortened(path)}, allowed: a file below the output folder; fix the names in it")
    return path
