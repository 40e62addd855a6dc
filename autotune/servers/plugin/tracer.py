"""Records what a server looks up, and how often batches of which size run, into a file that `plan --trace` reads.

It never raises, waits for no GPU and holds no tensor: what goes wrong is told once, and the recording ends there.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import util
from pathlib import Path
from typing import Any, Final, ParamSpec

from autotune.servers.plugin.notices import warn_once
from autotune.servers.trace_line import VARIABLE, Rows, SeenLaunches, SeenLookup, batches_line, lookup_line

P = ParamSpec("P")

TICK_S: Final = 1.0
"""So long a lookup waits to be saved."""

_PAUSE_SHARE: Final = 0.01
_LONGEST_PAUSE_S: Final = 10.0
"""So long batches wait: a hundredth of the time since the start, from one tick to this. A day has some thousand
lines."""


@dataclass
class _SeenHere:
    """What one process has seen; its lock is held to read or change it."""

    process: int = field(default_factory=os.getpid)
    start: str = field(default_factory=lambda: f"{time.time_ns():x}")
    start_s: float = field(default_factory=lambda: time.monotonic())
    saved_s: float = field(default_factory=lambda: time.monotonic())
    layers: dict[SeenLookup, set[int]] = field(default_factory=dict)
    launches: dict[SeenLookup, SeenLaunches] = field(default_factory=dict)
    unsaved: set[SeenLookup] = field(default_factory=set)
    batches: dict[Rows, Counter[int]] = field(default_factory=lambda: {"tokens": Counter(), "samples": Counter()})
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_due(self) -> bool:
        """Tells whether something has waited long enough to be saved."""
        now_s = time.monotonic()
        pause_s = min(max(TICK_S, _PAUSE_SHARE * (now_s - self.start_s)), _LONGEST_PAUSE_S)
        return bool(self.unsaved) or now_s - self.saved_s >= pause_s

    def taken(self, server: str) -> list[dict[str, Any]]:
        """Takes the lines of what is new since the last time."""
        process = f"{socket.gethostname()}-{self.process}-{self.start}"
        lines = [lookup_line(process, seen, self.launches[seen]) for seen in self.unsaved]
        lines += [batches_line(process, server, rows, found) for rows, found in self.batches.items() if found]
        self.unsaved.clear()
        for counter in self.batches.values():
            counter.clear()
        self.saved_s = time.monotonic()
        return lines


class Tracer:
    """Counts in memory, and appends to the file in whole lines, so that all processes of a server may share it.

    A thread saves now and then, since servers kill their workers, and end others past all that runs at an exit. It
    starts with a process's first record: servers fork their workers when a tracer is made already.

    Args:
        server: The server's name, which is its package's too.
    """

    def __init__(self, path: Path, server: str) -> None:
        self._path = path
        self.server = server
        self.release = _release(server)
        self._seen: _SeenHere | None = None
        self._on = True

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
        ours = self._of_this_process()
        with ours.lock:
            launches = ours.launches.setdefault(seen, SeenLaunches())
            layers = ours.layers.setdefault(seen, set())
            before = (len(layers), len(launches.captured), launches.largest)
            layers.add(weights)
            launches.layers = len(layers)
            if is_captured:
                launches.captured.add(size)
            else:
                launches.largest = max(launches.largest, size)
            if before != (len(layers), len(launches.captured), launches.largest):
                ours.unsaved.add(seen)

    def batch(self, rows: Rows, size: int) -> None:
        """Counts a batch."""
        ours = self._of_this_process()
        with ours.lock:
            ours.batches[rows][size] += 1

    def save(self) -> None:
        """Appends what is new since the last time, by one write."""
        ours = self._of_this_process()
        with ours.lock:
            lines = ours.taken(self.server)
        if not lines:
            return
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def save_if_due(self) -> None:
        """Saves if something has waited long enough."""
        if self._of_this_process().is_due:
            self.save()

    def _of_this_process(self) -> _SeenHere:
        """Returns what this process has seen; a forked one starts anew, with a thread and a last save of its own."""
        if self._seen is None or self._seen.process != os.getpid():
            self._seen = _SeenHere()
            # Unlike `atexit`, this is also run in workers that `multiprocessing` has forked.
            util.Finalize(None, self.quietly(self.save), exitpriority=0)
            threading.Thread(target=self._save_now_and_then, name=f"{VARIABLE}-saver", daemon=True).start()
        return self._seen

    def _save_now_and_then(self) -> None:
        save = self.quietly(self.save_if_due)
        while self._on:
            time.sleep(TICK_S)
            save()


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
