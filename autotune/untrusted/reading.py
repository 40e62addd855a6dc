"""Reads files of anybody's: regular files alone, below a size, and JSON and TOML of bounded depth and numbers.

Every refusal is a `ValueError` or an `OSError` whose text fits a line; the caller adds the flag and what to do next.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
import tomllib
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

MOST_BYTES = 64 << 20
"""Largest file that is read, and largest content of a packed one; a tuned file has some hundred kilobytes."""

MOST_TOML_BYTES = 64 << 10
MOST_TOML_COLUMNS = 1000
"""Bounds of TOML, whose parser takes time and memory with the square of a dotted key's parts."""

MOST_DEPTH = 64
"""Deepest nesting of JSON and TOML; tuned files have 5 levels, configs of models fewer than 10."""

MOST_DIGITS = 20
"""Longest integer; 2**64 has 20 digits."""

_INTEGER = re.compile(r"-?[0-9]{1,9}")


def check_regular(path: Path) -> None:
    """Makes sure that a path leads to a regular file, before a library of another's opens it.

    Raises:
        OSError: If it cannot be looked at.
        ValueError: If it is a folder, a pipe or a device.
    """
    _check_mode(path.stat().st_mode)


def read_bytes(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Returns a file's content. It never waits, as a plain `open` does for a pipe that nobody writes to.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no regular file, or is too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _check_mode(os.fstat(descriptor).st_mode)
        return _within(file.read(most_bytes + 1), most_bytes)


def read_text(path: Path, encoding: str = "utf-8", most_bytes: int = MOST_BYTES) -> str:
    """Returns a file's text; raises as `read_bytes` does, and for text in another encoding."""
    return read_bytes(path, most_bytes).decode(encoding)


def read_gzip_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """Returns the text of a packed file; raises as `read_text` does, and for one that unpacks to too much."""
    try:
        with gzip.open(BytesIO(read_bytes(path))) as file:
            return _within(file.read(MOST_BYTES + 1), MOST_BYTES).decode(encoding)
    except (EOFError, zlib.error) as error:
        raise ValueError(str(error)) from error


def read_json(path: Path, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Returns what a JSON file holds.

    Args:
        pairs_hook: Makes an object of its pairs, as `json.loads` takes it.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no JSON (then a `json.JSONDecodeError`, with the place), or is out of bounds.
    """
    return json_of(read_text(path), pairs_hook)


def json_of(text: str, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Returns what JSON text holds; raises as `read_json` does."""
    try:
        return _bounded(json.loads(text, object_pairs_hook=pairs_hook, parse_int=_integer))
    except RecursionError:
        raise ValueError(_too_deep()) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Returns what a TOML file holds.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no TOML, or is out of bounds.
    """
    text = read_text(path, most_bytes=MOST_TOML_BYTES)
    if any(len(line) > MOST_TOML_COLUMNS for line in text.splitlines()):
        raise ValueError(f"a line is longer than {MOST_TOML_COLUMNS} characters")
    try:
        found: dict[str, Any] = _bounded(tomllib.loads(text))
        return found
    except RecursionError:
        raise ValueError(_too_deep()) from None


def integer(text: str) -> int:
    """Returns the integer that a text spells in plain digits, at most nine of them.

    Raises:
        ValueError: If it spells none.
    """
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no integer of at most 9 digits")
    return int(text)


def _check_mode(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ValueError("a folder, not a file" if stat.S_ISDIR(mode) else "a pipe or a device, not a regular file")


def _within(content: bytes, most_bytes: int) -> bytes:
    if len(content) > most_bytes:
        raise ValueError(f"holds more than {most_bytes:,} bytes")
    return content


def _integer(digits: str) -> int:
    if len(digits.removeprefix("-")) > MOST_DIGITS:
        raise ValueError(f"an integer has more than {MOST_DIGITS} digits")
    return int(digits)


def _bounded(data: Any) -> Any:
    """Returns the data, if they are within bounds; without recursion, because they may be of any depth."""
    level, depth = [data], 0
    while level:
        if depth > MOST_DEPTH:
            raise ValueError(_too_deep())
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                _check_keys(node)
                below += node
                below += node.values()
            elif isinstance(node, list):
                below += node
            else:
                _check_scalar(node)
        level, depth = below, depth + 1
    return data


def _check_keys(node: dict[str, Any]) -> None:
    """Refuses a key of more digits than an integer may have: keys of tuned files are read as integers."""
    for key in node:
        if len(key) > MOST_DIGITS and key.lstrip("+-").isdecimal():
            raise ValueError(f"a key has more than {MOST_DIGITS} digits")


def _check_scalar(node: Any) -> None:
    if isinstance(node, str) and not node.isascii():
        try:
            node.encode()
        except UnicodeEncodeError:
            raise ValueError("a text holds half a character (a lone surrogate)") from None
    elif isinstance(node, int) and node.bit_length() > 70:
        raise ValueError(f"an integer has more than {MOST_DIGITS} digits")


def _too_deep() -> str:
    return f"nested more than {MOST_DEPTH} levels deep"
