"""Starts the server that workers are forked from, with what they need, and tells when it is dead.

Whoever kills it kills all workers: they get a signal of its end, and their exit codes went through it. While it dies,
it still takes connections, and the system still calls it alive; what is begun in these moments is lost, too.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from typing import Any

from pebble import ProcessExpired

PRELOADED = ["autotune.measure.preload"]
"""What the server loads before it forks workers."""
_DIES_IN_S = 10.0
"""Longest time that a killed server takes to end: the system takes back gigabytes first."""
_UNREPORTED = 255
"""The exit code that multiprocessing gives a process whose own one the server did not tell."""
_LOADED_BY = os.getpid()
"""In a worker the server: it has loaded this module, and the worker is a copy of it."""


def start_server() -> ForkServerContext:
    """Starts the server, if it does not run; it loads torch and Triton while others work (`measure.preload`)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with deaf_to_ctrl_c():
        forkserver.ensure_running()
    return context


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Has processes that are started in a block never hear of Ctrl-C, which this one handles, not even while they
    load."""
    # Multiprocessing starts its tracker of resources with the first process, and unblocks the signal after it.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def server_pid() -> int | None:
    """Returns the process of the server that was started last; None before one was."""
    server: Any = forkserver._forkserver
    pid: int | None = server._forkserver_pid
    return pid


def wait_until_dead(pid: int | None) -> bool:
    """Waits for a server that is dying; returns whether it is dead."""
    if pid is None or pid != server_pid():  # Another one was started, which is done only after the first has ended.
        return True
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError:  # too many open files, which is why nothing starts
        return False
    try:
        # It is not reaped: multiprocessing does that, and fails where somebody else has done it.
        return bool(select.select([descriptor], [], [], _DIES_IN_S)[0])
    finally:
        os.close(descriptor)


def is_lost_with(pid: int | None, error: BaseException | None) -> bool:
    """Tells whether a task failed because its server was killed, and the worker with it.

    Args:
        pid: The server that ran when the task was handed over.
    """
    return isinstance(error, ProcessExpired) and error.exitcode == _UNREPORTED and wait_until_dead(pid)


def end_if_orphaned() -> None:
    """Ends a worker whose server was killed before the worker asked to be told of it."""
    if _LOADED_BY not in (os.getpid(), os.getppid()):
        os._exit(1)


def let_go() -> None:
    """Closes a worker's copy of the pipe that keeps the server alive: a busy worker would keep the server waiting for
    that very worker, and neither would end when the coordinator is killed."""
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None
