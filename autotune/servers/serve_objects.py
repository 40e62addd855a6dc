"""Gathers keys of JSON that stand as flags of their own: ``--flag.key value`` (contracts A11)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from autotune.untrusted import reading

_KEY = re.compile(r"(?P<flag>--?[\w-]+)\.(?P<path>[\w.-]+?)(?P<more>\+?)(?:=(?P<value>.*))?", re.DOTALL)
_MOST_KEYS = 16
"""Deepest path that is read; those of servers have two or three keys."""


def with_objects(words: Sequence[str], flags: Collection[str], number: Callable[[str], int]) -> list[str]:
    """Returns the words with such keys as one JSON object a flag, behind all others, where the server has them, too.

    What such a flag itself was given as JSON then does not count, as for the server.

    Args:
        flags: Those that take an object, as they are spelled; keys of others stay as they are.
        number: Reads an integer as the server spells it.
    """
    left, objects = list[str](), dict[str, dict[str, Any]]()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        key = _KEY.fullmatch(word)
        flag = key["flag"] if key else ""
        path = key["path"].split(".") if key else []
        if key is None or _spelled(flag) not in flags or len(path) > _MOST_KEYS:
            left.append(word)
            continue
        value = key["value"] if key["value"] is not None else rest.pop(0) if rest else ""
        _put(objects.setdefault(flag, {}), path, value.split(",") if key["more"] else _read(value, number))
    return [*left, *(word for flag, found in objects.items() for word in (flag, json.dumps(found)))]


def _spelled(flag: str) -> str:
    return flag.replace("_", "-") if flag.startswith("--") else flag


def _read(text: str, number: Callable[[str], int]) -> Any:
    for reader in (reading.json_of, number):
        try:
            return reader(text)
        except ValueError:
            continue
    return text


def _put(found: dict[str, Any], path: list[str], value: Any) -> None:
    """Puts a value where its path leads; a list goes behind one that is there, all else in place of what is there."""
    *above, last = path
    for key in above:
        below = found.get(key)
        if not isinstance(below, dict):
            below = found[key] = {}
        found = below
    if isinstance(value, list) and isinstance(found.get(last), list):
        found[last] += value
    else:
        found[last] = value
