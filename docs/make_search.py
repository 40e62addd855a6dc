"""Replays every recorded space of 300 configs or more; writes the tables of docs/search.md, and docs/search.png.

PYTHONPATH=. python docs/make_search.py [SEEDS]    (20; about a quarter of an hour on two cores)
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from autotune.bench import table
from autotune.bench.plot import draw
from autotune.bench.search import DEFAULT, Plan, Score, run
from autotune.measure import recording

DOCS = Path(__file__).parent
BUDGETS = (25, 50, 100)
AFTER_NEIGHBOUR = (12, 24, 50)
SMALLEST = 300


def main(seeds: int) -> None:
    paths = tuple(p for p in recording.find() if len(recording.load(p).configs) >= SMALLEST)
    alone = run(Plan(paths, DEFAULT, seeds, BUDGETS))
    paired = tuple(p for p in paths if sum(_kernel(p) == _kernel(other) for other in recording.find()) > 1)
    helped = run(Plan(paired, ("auto",), seeds, AFTER_NEIGHBOUR, neighbour=True))
    draw(alone, max(BUDGETS), DOCS / "search.png")
    page = DOCS / "search.md"
    page.write_text(_filled(page.read_text(), _tables(alone, helped, seeds)))


def _kernel(path: Path) -> str:
    return recording.load(path).kernel


def _tables(alone: list[Score], helped: list[Score], seeds: int) -> dict[str, str]:
    return {
        "summary": f"{seeds} seeds.\n\n{table.summary(alone, BUDGETS)}",
        "spaces": table.markdown(alone, BUDGETS),
        "neighbour": table.markdown(helped, AFTER_NEIGHBOUR),
    }


def _filled(text: str, tables: dict[str, str]) -> str:
    """The page with each table between its markers replaced."""
    for name, body in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        text = re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{body}\n{end}", text, flags=re.DOTALL)  # noqa: B023
    return text


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
