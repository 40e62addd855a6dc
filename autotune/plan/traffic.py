"""Reads a histogram of token counts from a file: how often a batch of so many tokens runs."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune.errors import InputError
from autotune.untrusted import reading
from autotune.untrusted.printing import shortened


def read(path: Path) -> dict[int, float]:
    """Reads the weights by token count from a JSON object or list of pairs, or a CSV of two columns. A first row
    without any number is the CSV's header.

    Raises:
        InputError: If the file is anything else.
    """
    try:
        text = reading.read_text(path, "utf-8-sig")
        pairs = _json(text) if path.suffix == ".json" else _csv(text)
        found: dict[int, float] = {}
        for tokens, weight in pairs:
            found[_whole(tokens)] = found.get(_whole(tokens), 0.0) + _number(weight)
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, csv.Error) as error:
        raise InputError(
            f'--traffic: cannot read {path} ({error}); give JSON like {{"16": 0.7, "512": 0.3}} or a CSV of '
            "token count and weight"
        ) from error
    allowed = "allowed: token counts of 1 or more with finite weights that are not all zero; fix the file"
    for size, share in found.items():
        if size < 1 or not 0 <= share < math.inf:
            raise InputError(f"--traffic: {path}: got weight {share:g} for {size} tokens, {allowed}")
    if not any(found.values()):
        raise InputError(f"--traffic: {path}: got no weight above 0, {allowed}")
    return found


def _whole(tokens: str | float) -> int:
    if isinstance(tokens, bool) or (isinstance(tokens, float) and not tokens.is_integer()):
        raise ValueError(f"{tokens!r} is no whole number of tokens")
    return reading.integer(str(tokens).strip().removesuffix(".0"))


def _number(weight: str | float) -> float:
    if isinstance(weight, bool):
        raise ValueError(f"{weight!r} is no weight")
    return float(weight)


def _json(text: str) -> list[Sequence[Any]]:
    data = reading.json_of(text)
    return [_pair(each) for each in data] if isinstance(data, list) else list(data.items())


def _csv(text: str) -> list[Sequence[Any]]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and not any(map(_is_number, rows[0])):
        rows = rows[1:]
    return [_pair(_without_empty_end(row)) for row in rows]


def _pair(row: Any) -> Sequence[Any]:
    """Returns a row, if it is one of two values: a text of two characters is none."""
    if not isinstance(row, list) or len(row) != 2:
        raise ValueError(f"{shortened(row)} is no pair of token count and weight")
    return row


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _without_empty_end(row: list[str]) -> list[str]:
    """Returns a row without the empty cell that a comma at its end makes."""
    return row[:-1] if not row[-1].strip() else row
