"""Tells users who serve with results what to mind."""

from __future__ import annotations

from collections.abc import Iterable

from autotune import servers
from autotune.cli.messages import tell
from autotune.study.study import KernelStudy


def say_advice(finished: Iterable[KernelStudy]) -> None:
    """Prints what users who serve with these results should know."""
    for line in servers.advice(item.call for item in finished):
        tell(f"Mind: {line}")
