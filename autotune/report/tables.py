"""Prints tables for a terminal or a file: each row in a line where it has room in one, else folded at words."""

from __future__ import annotations

import itertools
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import click

from autotune.contract import Config
from autotune.study.result import WorkloadTimes
from autotune.untrusted.printing import printable

_BETWEEN = "  "


@dataclass(frozen=True)
class TextTable:
    """A plain table; columns whose cells are numbers are aligned to the right.

    Attributes:
        title: Lines that stand above it; empty for none.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @cached_property
    def lines(self) -> list[str]:
        """The title if there is one, the columns' names, and each row, in one line each."""
        widths = [max(map(_width, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = []
        for row in (self.columns, *self.rows):
            cells = zip(row, widths, self._numeric, strict=True)
            lines.append(_BETWEEN.join(_aligned(*each) for each in cells).rstrip())
        return [*self.title.splitlines(), *lines]

    @property
    def width(self) -> int:
        """How many characters its widest line takes."""
        return max(map(_width, self.lines))

    def folded(self, room: int) -> list[str]:
        """Returns the table in lines of so many characters, no word broken that has room in one: cells take several
        lines each, or where even words have no room side by side, rows take a paragraph each."""
        columns = list(zip(self.columns, *self.rows, strict=True))
        longest_words = [max(_width(word) for cell in column for word in cell.split() or [""]) for column in columns]
        spare = room - sum(longest_words) - len(_BETWEEN) * (len(columns) - 1)
        title = [line for text in self.title.splitlines() for line in _wrapped(text, room)]
        if spare < 0:
            return [*title, *(line for row in self.rows for line in self._paragraph(row, room))]
        wanted = [max(map(_width, column)) for column in columns]
        widths = _shared_out(spare, longest_words, wanted)
        return [*title, *(line for row in (self.columns, *self.rows) for line in self._folded_row(row, widths))]

    def _folded_row(self, row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
        cells = [_wrapped(text, width) for text, width in zip(row, widths, strict=True)]
        for parts in itertools.zip_longest(*cells, fillvalue=""):
            line = zip(parts, widths, self._numeric, strict=True)
            yield _BETWEEN.join(_aligned(*each) for each in line).rstrip()

    def _paragraph(self, row: Sequence[str], room: int) -> list[str]:
        """Returns a row as its first cell, and below it the others with their columns' names."""
        others = [
            f"{name} {text}".strip()
            for name, text in zip(self.columns[1:], row[1:], strict=True)
            if text not in ("", "-")
        ]
        return [*_wrapped(row[0], room), *(f"  {line}" for line in _wrapped(", ".join(others), room - 2))]

    @cached_property
    def _numeric(self) -> list[bool]:
        columns = range(len(self.columns))
        return [bool(self.rows) and all(is_number(row[index]) for row in self.rows) for index in columns]


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> TextTable:
    """Makes a table of anything; None is an empty cell, and foreign text is spelled as it can be printed."""
    cells = [["" if value is None else printable(str(value)) for value in row] for row in rows]
    return TextTable(printable(title, keep="\n"), [printable(name) for name in columns], cells)


def show(*tables: TextTable, narrow: TextTable | None = None) -> None:
    """Prints tables to stdout; where that is no terminal, each row takes one line, however wide.

    Args:
        narrow: What to print instead on a terminal that is too narrow for a row of the tables.
    """
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if room is not None and narrow is not None and not all(made.width <= room for made in tables):
        tables = (narrow,)
    for made in tables:
        click.echo("\n".join(made.lines if room is None or made.width <= room else made.folded(room)))


def _shared_out(spare: int, least: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Returns the widths of columns that share what is spare, those that want little before those that want much."""
    widths = list(least)
    by_want = sorted(range(len(widths)), key=lambda index: wanted[index] - least[index])
    for done, index in enumerate(by_want):
        more = min(wanted[index] - least[index], spare // (len(widths) - done))
        widths[index] += more
        spare -= more
    return widths


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(1, width), break_on_hyphens=False)


def _width(text: str) -> int:
    """Returns how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _aligned(text: str, width: int, numeric: bool) -> str:
    blanks = " " * (width - _width(text))
    return blanks + text if numeric else text + blanks


def us(value: float | None) -> str:
    """Formats microseconds with three significant digits or more."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"


def ratio(value: float | None) -> str:
    return f"{value:.2f}x" if value else "-"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def config_text(config: Config) -> str:
    """Formats a config in one line, ``block_m 16, block_n 32, ...``; unset values left out."""
    return ", ".join(f"{name} {value}" for name, value in config.items() if value is not None)


def workload_text(times: WorkloadTimes) -> str:
    """Tells one workload's times in a study's result."""
    return f"{times.name}: {us(times.incumbent_us)} -> {us(times.tuned_us)} us"


def is_number(cell: str) -> bool:
    """Tells whether a cell is a number, or stands for one that is not there."""
    return cell in ("", "-") or cell.rstrip("%x").replace(".", "", 1).replace("-", "", 1).isdigit()
