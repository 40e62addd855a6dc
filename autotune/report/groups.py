"""What became of groups: one line each, and a row below their members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.report.tables import config_text, percent, us
from autotune.study import KernelStudy


def group_line(result: Mapping[str, Any]) -> str:
    """The result of a group in one line."""
    name, count = result["group"], len(result["members"])
    if result["outcome"] == "default":
        kept = f"keeps the defaults of its {count} ops ({us(result['tuned_us'])} us together)"
        return f"{name}: {kept}, no common {one_name(result)} is faster beyond the noise"
    before = f"{us(result['incumbent_us'])} -> " if result["incumbent_us"] else "the defaults do not all run here; "
    gain = f", {result['incumbent_us'] / result['tuned_us']:.2f}x as fast" if result["incumbent_us"] else ""
    together = f"{us(result['tuned_us'])} us over its {count} ops{gain}, {config_text(result['shared'])} in all"
    return f"{name}: {before}{together}{_slower_text(result)}"


def group_row(members: Sequence[KernelStudy]) -> tuple[object, ...]:
    """A row of the before/after table: the sum over the members of a finished group."""
    result = members[0].group_result or {}
    of = list(result["members"].values())
    floors_us = [each["floor_us"] for each in of]
    known = None not in floors_us
    return (
        result["group"],
        us(result["incumbent_us"]),
        us(result["tuned_us"]),
        f"{result['incumbent_us'] / result['tuned_us']:.2f}x" if result["incumbent_us"] else "-",
        percent(sum(floors_us) / result["tuned_us"] if known else None),
        sum(sum(each["counts"].values()) for each in of),
        f"sum of the {len(of)} above, {config_text(result['shared'])} in all",
    )


def one_name(result: Mapping[str, Any]) -> str:
    """The name of the parameter that the members share."""
    return str(next(iter(result["shared"])))


def _slower_text(result: Mapping[str, Any]) -> str:
    """Ops that pay for what the sum gains."""
    slower = [
        name
        for name, each in result["members"].items()
        if each["incumbent_us"] is not None and each["tuned_us"] > each["incumbent_us"]
    ]
    return f"; slower alone than with its default, for the sum: {', '.join(slower)}" if slower else ""
