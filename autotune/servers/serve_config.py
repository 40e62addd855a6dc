"""Reads the YAML file that a server takes flags from (``--config FILE``), into the words that they would be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune.untrusted.reading import read_text

MOST_BYTES = 64 << 10
"""Largest file that is read; one has some dozens of lines."""
MOST_LEVELS = 32
"""Deepest nesting that is read; the values of flags have two or three levels, and YAML takes minutes for thousands."""


def words(file: Path) -> list[str]:
    """Returns a file's flags as words of a command line, in its order.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds no flags; the text says why.
    """
    import yaml  # here, because most commands have no such file

    text = read_text(file, most_bytes=MOST_BYTES)
    try:
        _check_size(yaml.parse(text))
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(found, dict):
        raise ValueError("no mapping of flags to values")
    return [word for name, value in found.items() for word in _words(f"--{name}", value)]


def _check_size(events: Iterator[Any]) -> None:
    """Reads a file's events until one shows that it is larger than its text.

    Raises:
        ValueError: If there is one.
    """
    import yaml

    levels = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("an alias (*name), which is not read here: a few lines of these can stand for gigabytes")
        if isinstance(event, yaml.CollectionStartEvent):
            levels += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            levels -= 1
        if levels > MOST_LEVELS:
            raise ValueError(f"nested more than {MOST_LEVELS} levels deep; flags' values have two or three")


def _words(flag: str, value: Any) -> Iterator[str]:
    """Yields a flag and its value; a switch that is off is left out, as servers do."""
    if value is False:
        return
    yield flag
    if isinstance(value, dict):
        yield json.dumps(value, default=str)
    elif isinstance(value, list):
        yield from map(str, value)
    elif value is not True:
        yield str(value)
