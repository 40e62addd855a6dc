"""Worker processes: started apart from CUDA, killed with everything they started, gone when their parent is.

Pools come from Pebble, which gives every task a time limit and replaces a worker that died or was killed.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any

from pebble import ProcessPool

_PR_SET_PDEATHSIG = 1


def pool(workers: int, initializer: Callable[..., None], *arguments: object) -> ProcessPool:
    """Opens a pool of processes that have torch and Triton loaded and no CUDA context."""
    return ProcessPool(
        max_workers=workers, context=start_server(), initializer=_start, initargs=(initializer, arguments)
    )


def start_server() -> ForkServerContext:
    """Starts the server that workers are forked from, if it does not run; it loads torch and Triton while others work.

    Workers compile for real, also where their parent interprets.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["autotune.measure.preload"])
    interpret = os.environ.pop("TRITON_INTERPRET", None)
    try:
        with deaf_to_ctrl_c():
            forkserver.ensure_running()
    finally:
        if interpret is not None:
            os.environ["TRITON_INTERPRET"] = interpret
    return context


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Has processes that are started in a block never hear of Ctrl-C, which this one handles, not even while they
    load."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(initializer: Callable[..., None], arguments: tuple[object, ...]) -> None:
    # The fork server, our parent, ends when nobody holds its pipe any more: with a copy here, a busy worker would keep
    # it waiting for that very worker, and neither would end when the coordinator is killed.
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
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
