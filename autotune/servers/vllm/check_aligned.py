"""Finds defects of the files of the experts' ops that only our plug-in has (contracts A17)."""

from __future__ import annotations

from typing import Any

from autotune.servers.finding import Finding
from autotune.servers.vllm import aligned, facts
from autotune.servers.vllm.check_levels import Walk


def check(file: str, data: Any) -> list[Finding]:
    """Finds the entries that the plug-in ignores; their calls run as without an entry."""
    made = Walk(file, facts.MOE_LEVELS)
    if not data:
        made.add((), "empty file", "ignored", "holds nothing: calls run as without an entry")
        return made.findings
    made.down(data)
    harmless = [Finding(file, each.key, each.defect, "ignored", each.message) for each in made.findings]
    for key, node in made.leaves.items():
        if reason := aligned.problem(node):
            harmless.append(Finding(file, key, "bad value", "ignored", f"{reason}; calls run as without an entry"))
    return harmless
