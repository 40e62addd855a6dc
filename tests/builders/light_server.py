"""A server of workers that is up soon, because it loads neither torch nor Triton, and tasks that need neither."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from autotune.measure import fork_server


@contextmanager
def light_server(*modules: str) -> Iterator[None]:
    """Has workers forked from a server that has loaded this module and no more than given, for as long as a block
    takes; another one that runs is kept for who comes after it."""
    server: Any = forkserver._forkserver
    with pytest.MonkeyPatch.context() as patch:
        for of_the_other in ("_forkserver_pid", "_forkserver_address", "_forkserver_alive_fd"):
            patch.setattr(server, of_the_other, None)
        patch.setattr(fork_server, "PRELOADED", [__name__, *modules])
        try:
            yield
        finally:
            server._stop()


def nothing() -> None:
    pass


def kill_server_once(mark: Path) -> str:
    """Kills the server while a worker is at a task, which kills the worker: the first time that it is called."""
    if mark.exists():
        return "done"
    mark.touch()
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
    return "not killed"


def end_with_255() -> None:
    os._exit(255)
