"""Makes tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

Table = tuple[Sequence[str], list[list[str]]]
"""Names of the columns, and the rows."""


def markdown(columns: Sequence[str], rows: list[list[str]]) -> list[str]:
    """Makes a table; columns of numbers are aligned to the right."""
    rule = ["---" if index == 0 or column == "config" else "---:" for index, column in enumerate(columns)]
    return ["| " + " | ".join(cells) + " |" for cells in [columns, rule, *rows]]
