"""Replays recorded spaces; writes the tables of docs/searching.md, and docs/search.png.

PYTHONPATH=. python docs/make_search.py [SEEDS]         (20; about a quarter of an hour on two cores)
PYTHONPATH=. python docs/make_search.py SEEDS auto      (only these samplers: the others' rows and the plot stay)

Spaces that `machine.toml` names under `recorded` came when the search was as it is; they have a table of their own.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from autotune.bench import table
from autotune.bench.own_searches import Knowledge
from autotune.bench.plot import draw
from autotune.bench.score import Score
from autotune.bench.search import DEFAULT, Comparison, run
from autotune.measure import recording

DOCS = Path(__file__).parent
BUDGETS = (25, 50, 100)
AFTER_NEIGHBOUR = (12, 24, 50)
SMALLEST = 300
SMALLEST_LATER = 200


def main(seeds: int, samplers: tuple[str, ...] = DEFAULT) -> None:
    later = {path for path in recording.find() if path.name.removesuffix(recording.SUFFIX) in _recorded_later()}
    paths = _of_size(set(recording.find()) - later, SMALLEST)
    alone = run(Comparison(paths, samplers, seeds, BUDGETS))
    paired = tuple(p for p in paths if sum(_kernel(p) == _kernel(other) for other in recording.find()) > 1)
    helped = run(Comparison(paired, ("auto",), seeds, AFTER_NEIGHBOUR, Knowledge(neighbour=True)))
    unseen = run(Comparison(_of_size(later, SMALLEST_LATER), samplers, seeds, BUDGETS))
    bare = run(Comparison(paths, ("auto",), seeds, BUDGETS, Knowledge(estimate=False)))
    if samplers == DEFAULT:
        draw(alone, max(BUDGETS), DOCS / "search.png")
    page = DOCS / "searching.md"
    page.write_text(_filled(page.read_text(), _tables(alone, helped, bare, seeds, unseen)))


def _recorded_later() -> set[str]:
    return set(tomllib.loads((recording.RECORDED_DIR / "machine.toml").read_text())["recorded"])


def _of_size(paths: set[Path], least: int) -> tuple[Path, ...]:
    """Returns the spaces of so many configs and more."""
    return tuple(path for path in sorted(paths) if len(recording.load(path).configs) >= least)


def _kernel(path: Path) -> str:
    return recording.load(path).kernel


def _tables(
    alone: list[Score], helped: list[Score], bare: list[Score], seeds: int, unseen: list[Score]
) -> dict[str, str]:
    return {
        "summary": f"{seeds} seeds.\n\n{table.summary(alone, BUDGETS)}",
        "spaces": table.markdown(alone, BUDGETS),
        "neighbour": table.markdown(helped, AFTER_NEIGHBOUR),
        "bare": table.markdown(bare, BUDGETS),
        "unseen": table.markdown(unseen, BUDGETS),
    }


def _filled(text: str, tables: dict[str, str]) -> str:
    """Returns the page with each table between its markers renewed; rows of samplers that did not run stay."""
    for name, body in tables.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        old, marked, after = rest.partition(end)
        if not marked:
            raise SystemExit(f"docs/searching.md: no line {begin.strip()} with a table and {end.strip()} after it")
        text = before + begin + _renewed(old, body) + end + after
    return text


def _renewed(old: str, new: str) -> str:
    """Returns a table's new rows in the places of the old ones, and the old ones that have no successor."""
    renewed = dict(_rows(new))
    if set(renewed) >= set(dict(_rows(old))):
        return new
    kept = [(key, renewed.pop(key, cells)) for key, cells in _rows(old)]
    text = [line for line in new.splitlines() if not line.startswith("|")]
    return "\n".join([*text, table.aligned([cells for _, cells in [*kept, *renewed.items()]])])


def _rows(body: str) -> list[tuple[tuple[str, ...], list[str]]]:
    """Returns the rows of a table, headings first, by space and sampler; its rule is left out."""
    lines = [line for line in body.splitlines() if line.startswith("|") and not line.startswith("| -")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    named = 1 + (rows[0][1] == "sampler") if rows else 1
    return [(tuple(row[:named]), row) for row in rows]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, tuple(sys.argv[2:]) or DEFAULT)
