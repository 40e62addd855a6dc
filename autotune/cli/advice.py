"""Tells users of results what to mind."""

from __future__ import annotations

from collections.abc import Iterable

from autotune import servers
from autotune.cli.messages import tell
from autotune.study.stored_study import StoredStudy


def say_advice(finished: Iterable[StoredStudy]) -> None:
    """Prints what users who serve with these results should know."""
    for line in servers.advice(item.call for item in finished):
        tell(f"Note: {line}")


def say_if_replayed(studies: Iterable[StoredStudy]) -> None:
    """Prints one plain line where times, or files made of them, are not of this machine."""
    if gpus := sorted({item.spec.gpu.name for item in studies if item.spec.backend == "replay"}):
        tell(f"Replay: times are recordings of {', '.join(gpus)}, not of this machine.")
