"""Runs worker processes: started apart from CUDA, killed with everything they started, gone when their parent is.

Pools come from Pebble, which gives every task a time limit.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import ForkServerContext

from pebble import ProcessExpired, ProcessPool

from autotune.errors import AutotuneError
from autotune.measure import fork_server
from autotune.measure.watched_pool import Result, WatchedPool

_PR_SET_PDEATHSIG = 1

LOST = (ProcessExpired, BrokenProcessPool)
"""What a task of a `WorkerPool` raises whose process was killed: at that task, or while it had nothing to do."""

TRIES = 3
"""How often is tried what a killed process is not to blame for."""


class WorkerPool:
    """Processes that have torch and Triton loaded and no CUDA context; those that are killed are replaced.

    Pebble replaces a process that is killed at a task, which fails by `ProcessExpired`. One that is killed while it has
    nothing to do ends its whole pool, and what was just handed over fails by `BrokenProcessPool`, as does whatever is
    not done when the processes are stopped.

    Args:
        initializer: Called with the arguments in each process.
    """

    def __init__(self, workers: int, initializer: Callable[..., object], *arguments: object) -> None:
        self._workers = workers
        self._initial = (initializer, arguments)
        self._pool: WatchedPool | None = None
        self._ended: WatchedPool | None = None
        self._closed = False
        self._lock = threading.RLock()

    def start(self) -> WatchedPool:
        """Brings the processes up, if they do not run, without waiting for them; returns their pool.

        Raises:
            AutotuneError: If the server that they are forked from cannot be started.
            RuntimeError: If they were stopped for good.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("these processes were stopped for good")
            if self._pool is not None and not self._pool.is_active:
                self._end()
            if self._pool is None:
                pool = ProcessPool(
                    max_workers=self._workers,
                    context=_server(),
                    initializer=_start,
                    initargs=self._initial,
                )
                self._pool = WatchedPool(pool)
            return self._pool

    def schedule(
        self, function: Callable[..., Result], *arguments: object, limit_s: float | None = None
    ) -> Future[Result]:
        """Has a process call a function; it is killed at its time limit.

        Raises:
            AutotuneError: If no process can be started.
            RuntimeError: If they were stopped for good.
        """
        with self._lock:
            for _ in range(TRIES):
                try:
                    return self.start().schedule(function, arguments, limit_s)
                except (BrokenProcessPool, OSError) as error:  # none could be forked: the server may be dying just now
                    failed: Exception = error
                    self._end()
                    fork_server.wait_until_dead(fork_server.server_pid())
                except RuntimeError as error:  # the pool ended since it was looked at, or for good
                    failed = error
            if self._closed:
                raise failed
            raise _none_starts(failed) from failed

    def restart(self) -> None:
        """Kills the processes; the next task starts new ones."""
        with self._lock:
            self._end()
            ended = self._ended
        if ended is not None:
            ended.wait()

    def close(self) -> None:
        """Kills the processes for good."""
        self._closed = True
        self.restart()

    def _end(self) -> None:
        """Kills the processes, also those that outlive their pool, and does not wait."""
        if self._pool is not None:
            self._pool.end()
            self._ended, self._pool = self._pool, None


def _server() -> ForkServerContext:
    try:
        return fork_server.start_server()
    except OSError as error:
        raise _none_starts(error) from error


def _none_starts(error: Exception) -> AutotuneError:
    """Returns the line about processes that cannot be started, with the system's reason where Pebble hides it."""
    return AutotuneError(
        f"worker processes: none can be started here ({error.__cause__ or error!r}); see to memory and to the limits "
        "of processes and open files (ulimit -u, ulimit -n); what is stored stays, and study run goes on from there"
    )


def _start(initializer: Callable[..., object], arguments: tuple[object, ...]) -> None:
    fork_server.let_go()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    fork_server.end_if_orphaned()
    # A session of its own, so that a killed compiler takes its ptxas with it.
    os.setsid()
    signal.signal(signal.SIGTERM, _kill_group)
    # Ctrl-C is the coordinator's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Triton 3.9 announces a change of 3.10 in every process that compiles.
    warnings.filterwarnings("ignore", message="TRITON_DEFAULT_FP_FUSION")
    initializer(*arguments)


def _kill_group(signum: int, frame: object) -> None:
    os.killpg(0, signal.SIGKILL)
