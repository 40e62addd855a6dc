"""What became of groups: one line each, as their members' notes and the end of a run have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.report.tables import config_text, us


def group_line(result: Mapping[str, Any]) -> str:
    """The result of a group in one line."""
    name, count = result["group"], len(result["members"])
    if result["outcome"] == "default":
        kept = f"keeps the defaults of its {count} ops ({us(result['tuned_us'])} us together)"
        return f"{name}: {kept}, no common {_shared_name(result)} is faster beyond the noise"
    before = f"{us(result['incumbent_us'])} -> " if result["incumbent_us"] else "the defaults do not all run here; "
    gain = f", {result['incumbent_us'] / result['tuned_us']:.2f}x as fast" if result["incumbent_us"] else ""
    together = f"{us(result['tuned_us'])} us over its {count} ops{gain}, {config_text(result['shared'])} in all"
    return f"{name}: {before}{together}{_slower_text(result)}"


def _shared_name(result: Mapping[str, Any]) -> str:
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
