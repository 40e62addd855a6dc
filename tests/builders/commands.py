"""Commands in processes that are forked from one which has loaded the tool: they start at once, and may be killed."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_LOADED = [
    "autotune.measure.preload",
    "optuna.storages._rdb.storage",
    "sqlalchemy.dialects.sqlite",
    *(f"autotune.cli.study_{name}" for name in ("create", "run", "export")),
]


class Commands:
    """Starts commands in a folder, with what they print in a file of their own.

    Args:
        environment: Variables that differ from this process's.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_LOADED)
        self._started = 0

    def start(self, *words: str, most_file_bytes: int | None = None) -> Command:
        """Starts a command.

        Args:
            most_file_bytes: Largest file that it can write: how a full disk is played.
        """
        self._started += 1
        log = self._folder / f"command-{self._started}.log"
        arguments = [part for word in words for part in word.split()]
        process = self._context.Process(
            target=_run, args=(arguments, self._folder, self._environment, log, most_file_bytes)
        )
        process.start()
        return Command(process, log)


class Command:
    """A command that was started."""

    def __init__(self, process: ForkServerProcess, log: Path) -> None:
        self.process = process
        self._log = log

    def wait(self, limit_s: float = 300.0) -> int:
        """Waits for its end; returns its exit code, below 0 for a signal."""
        self.process.join(limit_s)
        assert self.process.exitcode is not None, f"it hangs: {self.printed}"
        return self.process.exitcode

    def kill(self) -> int:
        """Kills it, unless it has ended; returns its exit code."""
        self.process.kill()
        return self.wait()

    @property
    def printed(self) -> str:
        """What it printed so far, on stdout and stderr."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""


def _run(
    arguments: list[str], folder: Path, environment: dict[str, str], log: Path, most_file_bytes: int | None
) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    if most_file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_file_bytes, most_file_bytes))
    from autotune.__main__ import main

    sys.argv = ["autotune", *arguments]
    main()
