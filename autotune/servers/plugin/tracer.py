"""Records what a server looks up, and how often batches of which size run, into a file that `plan --trace` reads.

It never raises, waits for no GPU and holds no tensor: what goes wrong is told once, and the recording ends there.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, ParamSpec

from autotune.servers.plugin.notices import warn_once
from autotune.servers.trace_line import VARIABLE, Rows, SeenLaunches, SeenLookup, batches_line, lookup_line

P = ParamSpec("P")

_LEAST_PAUSE_S: Final = 1.0
_PAUSE_SHARE: Final = 0.01
"""Between two saves passes a second, and a hundredth of the time since the start: a trace of days has some thousand
lines."""


class Tracer:
    """Counts in memory, and appends to the file in whole lines, so that all processes of a server may share it.

    Args:
        server: The server's name, which is its package's too.
    """

    def __init__(self, path: Path, server: str) -> None:
        self._path = path
        self.server = server
        self.release = _release(server)
        self._start = f"{time.time_ns():x}"
        self._start_s = self._saved_s = time.monotonic()
        self._layers: dict[SeenLookup, set[int]] = {}
        self._launches: dict[SeenLookup, SeenLaunches] = {}
        self._unsaved: set[SeenLookup] = set()
        self._batches: dict[Rows, Counter[int]] = {"tokens": Counter(), "samples": Counter()}
        self._on = True
        atexit.register(self.quietly(self.save))

    def quietly(self, record: Callable[P, None]) -> Callable[P, None]:
        """Returns what records and never raises, nor does anything once it has failed."""

        @functools.wraps(record)
        def recorded(*args: P.args, **kwargs: P.kwargs) -> None:
            if not self._on:
                return
            try:
                record(*args, **kwargs)
            except Exception as error:  # a request is worth more than a recording
                self._on = False
                warn_once(f"{VARIABLE}: nothing more is recorded: {type(error).__name__}: {error}")

        return recorded

    def lookup(self, seen: SeenLookup, size: int, weights: int, is_captured: bool) -> None:
        """Notes a lookup.

        Args:
            size: The batch's, as the server compares it.
            weights: Where the layer's weights lie, which tells it from other layers.
            is_captured: It is made while a CUDA graph is captured.
        """
        launches = self._launches.setdefault(seen, SeenLaunches())
        layers = self._layers.setdefault(seen, set())
        before = (len(layers), len(launches.captured), launches.largest)
        layers.add(weights)
        launches.layers = len(layers)
        if is_captured:
            launches.captured.add(size)
        else:
            launches.largest = max(launches.largest, size)
        if before != (len(layers), len(launches.captured), launches.largest):
            self._unsaved.add(seen)

    def batch(self, rows: Rows, size: int) -> None:
        """Counts a batch, and saves now and then."""
        self._batches[rows][size] += 1
        now_s = time.monotonic()
        if now_s - self._saved_s >= max(_LEAST_PAUSE_S, _PAUSE_SHARE * (now_s - self._start_s)):
            self.save()

    def save(self) -> None:
        """Appends what is new since the last time, by one write."""
        self._saved_s = time.monotonic()
        # Asked each time: servers fork their workers when this is made already.
        process = f"{socket.gethostname()}-{os.getpid()}-{self._start}"
        lines = [lookup_line(process, seen, self._launches[seen]) for seen in self._unsaved]
        lines += [batches_line(process, self.server, rows, found) for rows, found in self._batches.items() if found]
        if not lines:
            return
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        self._unsaved.clear()
        for counter in self._batches.values():
            counter.clear()


def path() -> Path | None:
    """Returns the file that a user wants a trace in; None where none is wanted."""
    named = os.environ.get(VARIABLE, "")
    return Path(named).absolute() if named else None


@functools.cache
def of(server: str) -> Tracer | None:
    """Returns this process's tracer; None where none is wanted, or the file cannot be written to."""
    if (wanted := path()) is None:
        return None
    try:
        os.close(os.open(wanted, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666))
    except OSError as error:
        warn_once(f"{VARIABLE}: got {wanted}, which cannot be written to ({error.strerror}); nothing is recorded")
        return None
    return Tracer(wanted, server)


def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
