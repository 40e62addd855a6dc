"""Finds defects of the file of shrink and expand in one launch (contracts A15)."""

from __future__ import annotations

from typing import Any

from autotune.servers.finding import Finding
from autotune.servers.vllm import facts, linear
from autotune.servers.vllm.check_levels import Walk


def check(file: str, data: Any) -> list[Finding]:
    """Finds the entries that the plug-in ignores; a shape or an m without one runs shrink and expand apart."""
    made = Walk(file, facts.LINEAR_LEVELS)
    if not data:
        made.add((), "empty file", "ignored", "holds nothing: shrink and expand run apart")
        return made.findings
    made.down(data)
    harmless = [Finding(file, each.key, each.defect, "ignored", each.message) for each in made.findings]
    for key, node in made.leaves.items():
        if reason := linear.problem(node):
            harmless.append(Finding(file, key, "bad value", "ignored", f"{reason}; shrink and expand run apart"))
    return harmless
