"""Finds defects of the files that only our plug-in has: of the experts' ops and of the pair (contracts A15,
A17)."""

from __future__ import annotations

from typing import Any

from autotune.servers.finding import Finding
from autotune.servers.vllm.check_levels import Walk
from autotune.servers.vllm.own_file import OwnFile


def check(kind: OwnFile, file: str, data: Any) -> list[Finding]:
    """Finds the entries that the plug-in ignores."""
    made = Walk(file, kind.levels)
    if not data:
        made.add((), "empty file", "ignored", f"holds nothing: {kind.without}")
        return made.findings
    made.down(data)
    harmless = [Finding(file, each.key, each.defect, "ignored", each.message) for each in made.findings]
    for key, node in made.leaves.items():
        if reason := kind.problem(node):
            harmless.append(Finding(file, key, "bad value", "ignored", f"{reason}; {kind.without}"))
    return harmless
