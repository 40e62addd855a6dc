"""Measures and shows the differences of ``config diff``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.cli.messages import shows_progress
from autotune.config.diff import Difference
from autotune.config.entry_problem import Assumptions, assumed
from autotune.config.sides import ComparedSide
from autotune.report.tables import percent, show, table, us
from autotune.untrusted.printing import say

if TYPE_CHECKING:
    from autotune.config.race import RacedDifference, RacedSide

Sides = tuple[ComparedSide, ComparedSide]
"""The files or folders that were compared."""


def measured(found: Sequence[Difference], sides: tuple[Path, Path], assumptions: Assumptions) -> list[RacedDifference]:
    """Measures all differences on this machine, with a bar on stderr where that is a terminal.

    Raises:
        InputError: If it has no GPU.
    """
    from rich.console import Console
    from rich.progress import track

    from autotune.config.race import race, this_machine  # what a plain diff does without takes a while to load

    console = Console(stderr=True)
    with this_machine() as bench:
        outcomes = race(found, sides, assumptions, bench)
        shown = console.is_terminal and shows_progress()
        return list(track(outcomes, "measuring", len(found), console=console, disable=not shown, transient=True))


def show_differences(found: Sequence[Difference], sides: Sides) -> None:
    """Prints one line for each entry."""
    if found:
        paths = [str(side.path) for side in sides]
        show(table("", ("file", "at", *paths), [_place_cells(difference, sides) for difference in found]))


def show_outcomes(outcomes: Sequence[RacedDifference], sides: Sides) -> None:
    """Prints one line for each entry with both times, and a line that says what was assumed."""
    if not outcomes:
        return
    columns = ("file", "at", *(str(side.path) for side in sides), "problem", "a us", "b us", "faster", "by", "note")
    rows = []
    for o in outcomes:
        gain = percent(o.gain) if o.gain else None
        label = o.subject.problem.label if o.subject else None
        rows.append(
            (*_place_cells(o.difference, sides), label, _time(o.a), _time(o.b), o.faster or "-", gain, _note(o))
        )
    show(table("", columns, rows))
    if line := assumed(o.subject for o in outcomes if o.subject):
        say(f"Keys do not tell all of a problem; measured with: {line}.")


def _place_cells(difference: Difference, sides: Sides) -> tuple[str, str, str, str]:
    entries = difference.a, difference.b
    meanings = [side.meaning(difference.file, entry) for side, entry in zip(sides, entries, strict=True)]
    # Beside what is no config, all of the other side is told.
    names = [*(difference.a or {}), *(difference.b or {})] if any(meanings) else difference.changed
    a, b = (said or _parameters(entry or {}, names) for said, entry in zip(meanings, entries, strict=True))
    return difference.file, "/".join(difference.key), a, b


def _parameters(config: dict[str, Any], names: Iterable[str]) -> str:
    return ", ".join(
        f"{name} {json.dumps(config[name])}" if name in config else f"no {name}" for name in dict.fromkeys(names)
    )


def _time(side: RacedSide | None) -> str:
    """Formats the time of one side, or why there is none."""
    if side is None:
        return "-"
    return us(side.time_us) if side.time_us is not None or side.status == "not measured" else side.status


def _note(outcome: RacedDifference) -> str:
    notes = [outcome.note] if outcome.note else []
    for name, side in (("a", outcome.a), ("b", outcome.b)):
        if side is None:
            continue
        if side.origin == "nearest":
            notes.append(f"{name}: no entry, the server takes {'/'.join(side.key)}")
        if side.origin == "default":
            notes.append(f"{name}: no entry, the server takes its default")
        if side.origin == "plug-in's default":
            notes.append(f"{name}: the plug-in runs its kernel's default")
        if side.note:
            notes.append(f"{name}: {side.note}")
    return "; ".join(notes)
