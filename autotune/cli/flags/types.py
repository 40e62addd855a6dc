"""Parses the kinds of values that flags take besides click's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

MOST_SIZE = (1 << 31) - 1
"""Largest size that a flag takes: kernels count in 32 bits."""

_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType[float]):
    """Seconds, or with a unit: ``90``, ``90s``, ``10m``, ``2h``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        if (match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh]?)", value)) is None:
            self.fail(f"got {value!r}, allowed: seconds, or a number with s, m or h, e.g. 10m", param, ctx)
        if not (seconds := float(match[1]) * _UNIT_S[match[2]]):
            self.fail(f"got {value!r}, allowed: more than nothing, e.g. 10m", param, ctx)
        return seconds


def _positive(word: str) -> int | None:
    """Reads a positive integer in plain digits; None for anything else, and for one out of bounds."""
    if not re.fullmatch(r"[0-9]{1,10}", word) or not 0 < int(word) <= MOST_SIZE:
        return None
    return int(word)


class Size(click.ParamType[int]):
    """A positive integer."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if (size := _positive(str(value))) is None:
            self.fail(f"got {str(value)[:60]!r}, allowed: a positive integer, at most {MOST_SIZE}", param, ctx)
        return size


class Bit(click.ParamType[int]):
    """0 or 1."""

    name = "0|1"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return int(click.Choice(["0", "1"]).convert(str(value), param, ctx))


class Integers(click.ParamType[tuple[int, ...]]):
    """Positive integers separated by commas or blanks.

    Args:
        distinct: Take each once: for things to tune in turn, not for widths that may be equal.
        auto: Also take ``auto``, which is the same as leaving the flag out.
    """

    name = "integers"

    def __init__(self, distinct: bool = False, auto: bool = False) -> None:
        self.distinct = distinct
        self.auto = auto

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        if self.auto and value == "auto":
            return ()
        words = value.replace(",", " ").split()
        integers = tuple(size for word in words if (size := _positive(word)) is not None)
        if not words or len(integers) < len(words):
            shown = repr(value[:60])
            self.fail(f"got {shown}, allowed: positive integers separated by commas, e.g. 1,16,64", param, ctx)
        return tuple(dict.fromkeys(integers)) if self.distinct else integers


class FilePath(click.Path):
    """A file or a folder; an empty text, as a shell makes of a variable that is not set, is none."""

    def __init__(self, dir_okay: bool = True) -> None:
        super().__init__(dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("got '', allowed: a path; for the current folder give ./", param, ctx)
        return super().convert(value, param, ctx)


class Words(click.ParamType[tuple[str, ...]]):
    """Words separated by commas."""

    name = "list"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(part.strip() for part in value.split(",") if part.strip())
