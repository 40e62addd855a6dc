"""A time limit of a block in a test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fails in a block that takes longer."""

    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"took longer than {seconds} s")

    handler = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
