"""Asks a pool for one of its processes."""

from __future__ import annotations

import contextlib
import os

from autotune.measure.processes import LOST, TRIES, WorkerPool


def pid_in(pool: WorkerPool) -> int:
    """Returns a process that works now; where others are killed, the one that is asked may end before it answers."""
    for _ in range(TRIES):
        with contextlib.suppress(*LOST):
            pid: int = pool.schedule(os.getpid).result()
            return pid
    raise AssertionError(f"no process answered {TRIES} times in a row")
