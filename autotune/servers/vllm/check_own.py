"""Finds defects of the files that only our plug-in has: of the experts' ops and of one launch a layer (contracts A15,
A17)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from autotune.servers.finding import Finding
from autotune.servers.vllm import aligned, facts, linear
from autotune.servers.vllm.check_levels import Walk


@dataclass(frozen=True)
class OwnFile:
    """A kind of file that the plug-in alone reads.

    Attributes:
        problem: Tells why an entry is ignored; None if it is sound.
        instead: What becomes of the calls of one that is.
    """

    levels: tuple[str, ...]
    problem: Callable[[Any], str | None]
    instead: str


LINEAR: Final = OwnFile(facts.LINEAR_LEVELS, linear.problem, "shrink and expand run apart")
ALIGNED: Final = OwnFile(facts.MOE_LEVELS, aligned.problem, "calls run as without an entry")


def check(kind: OwnFile, file: str, data: Any) -> list[Finding]:
    """Finds the entries that the plug-in ignores."""
    made = Walk(file, kind.levels)
    if not data:
        made.add((), "empty file", "ignored", f"holds nothing: {kind.instead}")
        return made.findings
    made.down(data)
    harmless = [Finding(file, each.key, each.defect, "ignored", each.message) for each in made.findings]
    for key, node in made.leaves.items():
        if reason := kind.problem(node):
            harmless.append(Finding(file, key, "bad value", "ignored", f"{reason}; {kind.instead}"))
    return harmless
