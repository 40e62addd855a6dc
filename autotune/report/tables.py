"""Tables for a terminal or a file: plain lines where each row has room in one, else drawn with rich."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import click

from autotune.contract import Config
from autotune.study.result import WorkloadTimes
from autotune.untrusted.printing import cell, printable

if TYPE_CHECKING:
    from rich.table import Table as DrawnTable

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

    def drawn(self) -> DrawnTable:
        """Returns the table as rich draws it, which folds what is too wide."""
        from rich.table import Table  # loads for longer than most tables take to print

        made = Table(
            title=cell(self.title) if self.title else None,
            title_justify="left",
            box=None,
            pad_edge=False,
            header_style="bold",
        )
        for name, numeric in zip(self.columns, self._numeric, strict=True):
            made.add_column(cell(name), justify="right" if numeric else "left", overflow="fold")
        for row in self.rows:
            made.add_row(*map(cell, row))
        return made

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
        if room is None or made.width <= room:
            click.echo("\n".join(made.lines))
        else:
            from rich.console import Console

            Console().print(made.drawn())


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
