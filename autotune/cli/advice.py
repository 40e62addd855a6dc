"""What commands tell users who serve with results."""

from __future__ import annotations

from collections.abc import Iterable

from autotune import servers
from autotune.study.study import KernelStudy
from autotune.untrusted.printing import say


def say_advice(finished: Iterable[KernelStudy]) -> None:
    """Prints what users who serve with these results should know."""
    for line in servers.advice(item.call for item in finished):
        say(f"Mind: {line}", err=True)
