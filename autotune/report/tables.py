"""Tables for a terminal, made with rich."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from autotune.contract import Config
from autotune.study.result import WorkloadTimes
from autotune.untrusted.printing import cell

_WIDE = 10_000


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Makes a plain table; columns whose cells are numbers are aligned to the right."""
    cells = [["" if value is None else str(value) for value in row] for row in rows]
    made = Table(
        title=cell(title) if title else None, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for index, name in enumerate(columns):
        numeric = all(is_number(row[index]) for row in cells)
        made.add_column(cell(name), justify="right" if numeric and cells else "left", overflow="fold")
    for row in cells:
        made.add_row(*map(cell, row))
    return made


def show(*tables: Table, narrow: Table | None = None) -> None:
    """Prints tables to stdout; where that is no terminal, each row takes one line, however wide.

    Args:
        narrow: What to print instead on a terminal that is too narrow for a row of the tables.
    """
    console = Console()
    if narrow is not None and console.is_terminal and not all(fits(made, console) for made in tables):
        tables = (narrow,)
    if console.is_terminal:
        for made in tables:
            console.print(made)
        return
    text = io.StringIO()
    for made in tables:
        Console(file=text, width=_WIDE).print(made)
    click.echo("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


def fits(made: Table, console: Console) -> bool:
    """Tells whether each row of a table has room in one line."""
    return Measurement.get(console, console.options.update(width=_WIDE), made).maximum <= console.width


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
