"""Prints how plans compare with what vLLM's own classes wrap: `python docs/make_wrapped.py [--write]`.

With `--write` the table goes to docs/plan.md, between its marks.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import InputError
from autotune.model.shape import read
from autotune.model.sources import Source
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data" / "vllm_wrapped"
PAGE = ROOT / "docs" / "plan.md"
MARKS = ("<!-- wrapped -->", "<!-- /wrapped -->")

Lookup = tuple[str | int, ...]


@dataclass(frozen=True)
class Comparison:
    """A plan beside what the server wraps.

    Attributes:
        extra: Lookups that are planned and never made.
        missing: Lookups that are made and not planned.
        refused: What the plan says to refuse; None where it does not.
        error: With what the server stops; None where it serves.
    """

    name: str
    extra: frozenset[Lookup]
    missing: frozenset[Lookup]
    refused: str | None
    error: str | None

    @property
    def verdict(self) -> str:
        if self.error is not None:
            return "refused as the server does" if self.refused else "accepted wrongly"
        if self.refused is not None:
            return "refused, and served"
        return "identical" if not self.extra | self.missing else "wrong"


def recorded() -> list[str]:
    """Lists the recorded combinations that say something of the server."""
    silent = _json("uncalled.json")["not_the_servers_word"]
    return [name for name in _json("shapes.json") if name.partition("|")[0] not in silent]


def compare(name: str) -> Comparison:
    """Plans a recorded combination and compares."""
    model, tp, sharded, spread = name.split("|")
    serving = Serving("vllm", int(tp[2:]), 16, 4, sharded == "fs1", spread == "ep1")
    config = json.loads((DATA / "configs" / f"{model}.json").read_text())
    served = _json("shapes.json")[name]
    try:
        plan = make(read(Source(model, f"{model}.json", config), {}), serving, Batches())
    except InputError as error:
        return Comparison(name, frozenset(), frozenset(), str(error), served.get("error"))
    planned = frozenset((s.op, *(s.dims[d] for d in ("num_slices", "k", "n", "i") if d in s.dims)) for s in plan.shapes)
    made = frozenset(_made(model, served.get("shapes", ())))
    return Comparison(name, planned - made, made - planned, None, served.get("error"))


def table() -> list[str]:
    """Returns the rows of the page's table."""
    found = [compare(name) for name in recorded()]
    verdicts = Counter(each.verdict for each in found)
    extra, missing = (sum(len(getattr(each, side)) for each in found) for side in ("extra", "missing"))
    columns = ("identical", "refused as the server does", "refused, and served", "wrong", "accepted wrongly")
    return [
        "| road | combinations | " + " | ".join(columns) + " | shapes too many | shapes too few |",
        "| --- |" + " --- |" * (len(columns) + 3),
        f"| tables | {len(found)} | "
        + " | ".join(str(verdicts[each]) for each in columns)
        + f" | {extra} | {missing} |",
    ]


def main() -> None:
    """Prints the table, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put it into docs/plan.md")
    rows = table()
    if parser.parse_args().write:
        before, _, rest = PAGE.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        PAGE.write_text("\n".join([before + MARKS[0], *rows, MARKS[1] + after]))
    print("\n".join(rows))


def _made(model: str, rows: list[list[str | int | list[str]]]) -> Iterator[Lookup]:
    uncalled = _json("uncalled.json")
    silent = {*uncalled["everywhere"], *uncalled["by_model"].get(model, ())}
    for *lookup, modules in rows:
        if not set(modules) <= silent:  # type: ignore[arg-type]
            yield tuple(lookup)  # type: ignore[arg-type]


def _json(name: str) -> dict[str, dict[str, object]]:
    return dict(json.loads((DATA / name).read_text()))


if __name__ == "__main__":
    main()
