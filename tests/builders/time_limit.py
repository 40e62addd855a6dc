"""A time limit of a block in a test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


@contextmanager
def at_most(clock_s: float, processor_s: float | None = None) -> Iterator[None]:
    """Fails in a block that takes longer.

    Args:
        processor_s: How long this process may compute, which does not depend on what else the machine does.
    """
    with ExitStack() as limits:
        limits.enter_context(_limit(signal.SIGALRM, signal.ITIMER_REAL, clock_s))
        if processor_s is not None:
            limits.enter_context(_limit(signal.SIGPROF, signal.ITIMER_PROF, processor_s))
        yield


@contextmanager
def _limit(alarm: signal.Signals, timer: int, seconds: float) -> Iterator[None]:
    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"took longer than {seconds} s")

    handler = signal.signal(alarm, on_alarm)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(alarm, handler)
