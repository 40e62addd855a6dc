"""Reads a histogram of token counts from a file: how often a batch of so many tokens runs."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from autotune.errors import InputError
from autotune.untrusted import reading


def read(path: Path) -> dict[int, float]:
    """Reads the weights by token count from a JSON object or list of pairs, or a CSV of two columns (a header may be
    there).

    Raises:
        InputError: If the file is anything else.
    """
    try:
        text = reading.read_text(path)
        pairs = _json(text) if path.suffix == ".json" else _csv(text)
        found: dict[int, float] = {}
        for tokens, weight in pairs:
            found[_whole(tokens)] = found.get(_whole(tokens), 0.0) + float(weight)
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


def _json(text: str) -> Iterable[tuple[str | float, str]]:
    data = reading.json_of(text)
    return data if isinstance(data, list) else list(data.items())


def _csv(text: str) -> Iterable[tuple[str | float, str]]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and not rows[0][0].strip().isdecimal():
        rows = rows[1:]
    return [(row[0], row[1] if len(row) > 1 else "") for row in rows]
