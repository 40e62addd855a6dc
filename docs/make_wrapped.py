"""Prints how plans compare with what vLLM's own classes wrap: `python docs/make_wrapped.py [--road server] [--write]`.

With `--write` the row of the road goes to docs/plan.md, between its marks. The road `server` needs vLLM, and no GPU.
`--record` asks vLLM's classes anew what they wrap of each config of by_class.json and varied.json, and writes it
there.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autotune.errors import InputError
from autotune.model.shape import ModelShape, read
from autotune.model.sources import Source
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape
from autotune.servers.vllm.from_server import asking, child, road
from autotune.servers.vllm.from_server.answer import Job, WrappedAnswer

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data" / "vllm_wrapped"
PAGE = ROOT / "docs" / "plan.md"
MARKS = ("<!-- wrapped -->", "<!-- /wrapped -->")
WORSE = ("refused, and served", "wrong", "accepted wrongly")
COLUMNS = ("identical", "refused as the server does", *WORSE)
HEAD = "| road | combinations | " + " | ".join(COLUMNS) + " | shapes too many | shapes too few |"
VARIANTS = ("tp1|fs0", "tp2|fs0", "tp2|fs1")
RULE = "| --- |" + " --- |" * (len(COLUMNS) + 3)

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


def compare(name: str, by: str = "tables") -> Comparison:
    """Plans a recorded combination by one of the roads and compares."""
    model, tp, sharded, spread = name.split("|")
    serving = Serving("vllm", int(tp[2:]), 16, 4, sharded == "fs1", spread == "ep1")
    config = json.loads((DATA / "configs" / f"{model}.json").read_text())
    served = _json("shapes.json")[name]
    try:
        shapes = ROADS[by](read(Source(model, f"{model}.json", config), {}), serving)
    except InputError as error:
        return Comparison(name, frozenset(), frozenset(), str(error), served.get("error"))
    planned = lookups_of(shapes)
    made = frozenset(_made(model, served.get("shapes", ())))
    return Comparison(name, planned - made, made - planned, None, served.get("error"))


def record(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns entries of by_class.json with what the installed server's classes say of their configs."""
    return {
        name: {
            "config": entry["config"],
            "lookups": {flags: recorded_lookups(name, entry["config"], flags) for flags in VARIANTS},
        }
        for name, entry in sorted(entries.items())
    }


def recorded_lookups(name: str, config: Mapping[str, Any], flags: str) -> list[list[str | int]] | str:
    """Returns the lookups, or what the server refuses."""
    return _recorded(name, config, variant(flags))


def _recorded(name: str, config: Mapping[str, Any], serving: Serving) -> list[list[str | int]] | str:
    try:
        shapes = _by_server(read(Source(name, name, dict(config)), {}), serving)
    except InputError as error:
        return str(error)
    return sorted([*each] for each in lookups_of(shapes))


def record_varied(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns entries of varied.json with what the installed server's classes say of their configs and flags."""
    return {
        name: {**entry, "lookups": _recorded(name, entry["config"], varied(entry["flags"]))}
        for name, entry in sorted(entries.items())
    }


def variant(flags: str) -> Serving:
    """Returns the serving that flags such as ``tp2|fs1`` name."""
    tp, sharded = flags.split("|")
    return Serving("vllm", int(tp[2:]), 16, 4, sharded == "fs1")


def varied(flags: Mapping[str, Any]) -> Serving:
    """Returns the serving of an entry of varied.json."""
    targets = flags.get("target_modules")
    return Serving("vllm", max_loras=4, **{**flags, "target_modules": targets and tuple(targets)})


def lookups_of(shapes: Iterable[Shape]) -> frozenset[Lookup]:
    """Returns op, slices, k, n (and i) of each."""
    return frozenset((s.op, *(s.dims[d] for d in ("num_slices", "k", "n", "i") if d in s.dims)) for s in shapes)


def _write_records(file: str, records: Mapping[str, Mapping[str, Any]]) -> None:
    rows = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in records.items()
    )
    (DATA / file).write_text(f"{{\n{rows}\n}}\n")


def _by_tables(model: ModelShape, serving: Serving) -> Iterable[Shape]:
    return make(model, serving, Batches()).shapes


def _by_server(model: ModelShape, serving: Serving) -> Iterable[Shape]:
    """Asks the installed server's classes in a copy of this process: they keep what one model changed in them."""
    answer = _in_a_copy(asking.job_of(model, serving))
    if (told := answer.refused or answer.failed) is not None:
        raise InputError(told)
    return road.shapes(answer, serving, Batches())


def _in_a_copy(job: Job) -> WrappedAnswer:
    child.prepare()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "answer.json")
        if (copy := os.fork()) == 0:
            file.write_text(json.dumps(asdict(child.answer(job))))
            os._exit(0)
        os.waitpid(copy, 0)
        return WrappedAnswer.from_json(json.loads(file.read_text()))


ROADS = {"tables": _by_tables, "server": _by_server}


def row(by: str) -> str:
    """Returns a road's row of the page's table."""
    found = [compare(name, by) for name in recorded()]
    for each in found:
        if each.verdict in WORSE:
            print(each)
    verdicts = Counter(each.verdict for each in found)
    extra, missing = (sum(len(getattr(each, side)) for each in found) for side in ("extra", "missing"))
    counts = " | ".join(str(verdicts[each]) for each in COLUMNS)
    return f"| {by} | {len(found)} | {counts} | {extra} | {missing} |"


def main() -> None:
    """Prints the row, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--road", choices=list(ROADS), default="tables", help="which road to compare (default: tables)")
    parser.add_argument("--write", action="store_true", help="put it into docs/plan.md")
    parser.add_argument("--record", action="store_true", help="ask the server's classes of the recorded configs anew")
    args = parser.parse_args()
    if args.record:
        _write_records("by_class.json", record(_json("by_class.json")))
        return _write_records("varied.json", record_varied(_json("varied.json")))
    made = row(args.road)
    print(made)
    if args.write:
        before, _, rest = PAGE.read_text().partition(MARKS[0])
        old, _, after = rest.partition(MARKS[1])
        kept = [line for line in old.splitlines() if line.startswith("| ") and not line.startswith((HEAD[:7], "| ---"))]
        rows = [line for line in kept if not line.startswith(f"| {args.road} ")] + [made]
        PAGE.write_text("\n".join([before + MARKS[0], HEAD, RULE, *sorted(rows), MARKS[1] + after]))


def _made(model: str, rows: list[list[str | int | list[str]]]) -> Iterator[Lookup]:
    uncalled = _json("uncalled.json")
    silent = {*uncalled["everywhere"], *uncalled["by_model"].get(model, ())}
    for *lookup, modules in rows:
        if not set(modules) <= silent:  # type: ignore[arg-type]
            yield tuple(lookup)  # type: ignore[arg-type]


def _json(name: str) -> dict[str, dict[str, Any]]:
    return dict(json.loads((DATA / name).read_text()))


if __name__ == "__main__":
    main()
