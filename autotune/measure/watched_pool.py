"""Ends with a pool of processes all that was handed to it.

Pebble fails what a pool has when it breaks, but not what it is handed in that moment: nothing ever comes of that, and
whoever waits for it waits for ever. Of runs whose server of all processes was killed, say by a signal to a whole
process group, one in 25 did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any, Final, TypeVar

from pebble import ProcessPool

Result = TypeVar("Result")

_LOOK_S: Final = 0.1
"""How often is looked whether a pool has broken."""


class WatchedPool:
    """A pool of Pebble's that somebody looks after until it has ended."""

    def __init__(self, pool: ProcessPool) -> None:
        self.pool = pool
        self._unfinished: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._to_end = threading.Event()
        self._watcher = threading.Thread(target=self._see_to_the_end, daemon=True)

    @property
    def is_active(self) -> bool:
        """Whether its processes run, or can be: they are forked when it is first looked at."""
        try:
            active: bool = self.pool.active
            return active
        except (BrokenProcessPool, OSError):
            return False

    def schedule(
        self, function: Callable[..., Result], arguments: tuple[object, ...], limit_s: float | None
    ) -> Future[Result]:
        """Has a process call a function; what it comes to is known at the pool's end, if not before.

        Raises:
            BrokenProcessPool: If no process can be forked; or OSError.
            RuntimeError: If the pool has ended.
        """
        with self._lock:
            future: Future[Result] = self.pool.schedule(function, args=arguments, timeout=limit_s)
            self._unfinished.add(future)
            self._begin_to_watch()
        future.add_done_callback(self._unfinished.discard)
        return future

    def end(self) -> None:
        """Has the processes killed, and does not wait: the caller may be a thread of that very pool."""
        self.pool.stop()
        self._to_end.set()
        with self._lock:
            self._begin_to_watch()

    def wait(self) -> None:
        """Waits until it has ended, and all that was handed to it."""
        self._watcher.join()

    def _begin_to_watch(self) -> None:
        if not self._watcher.ident:
            self._watcher.start()

    def _see_to_the_end(self) -> None:
        while self.is_active and not self._to_end.wait(_LOOK_S):
            pass
        try:
            self.pool.stop()
            self.pool.join()
        finally:
            self._fail_what_is_left()

    def _fail_what_is_left(self) -> None:
        with self._lock:  # Whoever has it hands something over; nobody can any more once it is free.
            lost = tuple(self._unfinished)
        for future in lost:
            with suppress(InvalidStateError):
                future.set_exception(BrokenProcessPool("the processes ended before it was begun or done"))
