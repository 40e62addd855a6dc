"""Writes docs/results.md, and the table in README.md, from the data in docs/data that docs/run_*.sh measured.

PYTHONPATH=. python docs/make_results.py
"""

from __future__ import annotations

import json
from pathlib import Path

from results_page import (
    batches,
    beside,
    csgmv,
    dense,
    engine,
    moe,
    pairs,
    plain_shrink,
    plan,
    plugin,
    served,
)

DOCS = Path(__file__).parent
DATA = DOCS / "data"
README = DOCS.parent / "README.md"
MARKS = ("<!-- results: begin -->", "<!-- results: end -->")


def main() -> None:
    (DOCS / "results.md").write_text("\n".join(page()) + "\n")
    before, _, rest = README.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    run = json.loads((DATA / "serve-qwen3-8b.json").read_text())
    README.write_text("\n".join([before + MARKS[0], *engine.readme_table(run), MARKS[1] + after]))


def page() -> list[str]:
    """Returns the lines of the page, a section after the other."""
    return [
        "# Results on a GPU",
        "",
        "Made by `python docs/make_results.py` from `docs/data/`, which `docs/run_*.sh` measured.",
        *engine.section(DATA),
        *served.section(DATA),
        *plugin.section(DATA),
        *beside.section(DATA),
        *pairs.section(DATA),
        *dense.section(DATA),
        *csgmv.section(DATA),
        *plain_shrink.section(DATA),
        *batches.section(DATA),
        *moe.section(DATA),
        *plan.section(DATA),
    ]


if __name__ == "__main__":
    main()
