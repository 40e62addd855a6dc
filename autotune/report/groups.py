"""Says what became of groups: one line each, as their members' notes and the end of a run have it."""

from __future__ import annotations

from autotune.report.tables import config_text, us
from autotune.study.result import GroupResult


def group_line(result: GroupResult) -> str:
    """Tells the result of a group in one line."""
    decision, count = result.decision, len(result.members)
    if decision.outcome == "default":
        kept = f"keeps the defaults of its {count} ops ({us(decision.tuned_us)} us together)"
        why = f"no common {_shared_name(result)} is faster beyond the noise"
        return f"{result.group}: {kept}, {why}{_other_text(result)}"
    before = f"{us(decision.incumbent_us)} -> " if decision.incumbent_us else "the defaults do not all run here; "
    gain = f", {decision.speedup:.2f}x as fast" if decision.speedup else ""
    together = f"{us(decision.tuned_us)} us over its {count} ops{gain}, {config_text(result.shared)} in all"
    return f"{result.group}: {before}{together}{_slower_text(result)}{_other_text(result)}"


def _other_text(result: GroupResult) -> str:
    """Tells what the server's other default takes."""
    other_us = result.decision.other_default_us
    return "" if other_us is None else f"; its default with an empty config folder takes {us(other_us)} us"


def _shared_name(result: GroupResult) -> str:
    """Names the parameter that the members share."""
    return next(iter(result.shared))


def _slower_text(result: GroupResult) -> str:
    """Names the ops that pay for what the sum gains."""
    decisions = {name: member.decision for name, member in result.members.items()}
    slower = [
        name
        for name, decision in decisions.items()
        if decision.incumbent_us is not None and decision.tuned_us > decision.incumbent_us
    ]
    return f"; slower alone than with its default, for the sum: {', '.join(slower)}" if slower else ""
