"""Makes Ctrl-C and SIGTERM stop a command; sent again while it does not end, they stop it at once.

Nothing stored or written is ever half done, so that a process may end at any moment: what this adds is an end without a
traceback, with the terminal as it was, and with the exit code that shells expect of a signal.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h"
_GRACE_S = 2.0
"""What an interrupted command has for stopping what it started; until then further signals change nothing."""


class _Stop:
    """The signals that have come, and what the next one does.

    Attributes:
        patience: The number of signals that interrupt a command. One; two for a run, which looks itself whether one has
            come; none while the tool is loaded, when there is nothing to leave in order.
        interrupted_s: When they did, by the monotonic clock.
    """

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.patience = 0
        self.interrupted_s: float | None = None

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(number)
        if self.patience == 0:
            leave()
        if self.interrupted_s is None:
            if len(self.signals) >= self.patience:
                self.interrupt()
        elif time.monotonic() - self.interrupted_s >= _GRACE_S:
            leave()

    def interrupt(self) -> NoReturn:
        self.interrupted_s = time.monotonic()
        raise KeyboardInterrupt


_stop = _Stop()


def listen() -> None:
    """Ends the process at once on a signal, until `loaded` is called."""
    for number in SIGNALS:
        signal.signal(number, _stop.on_signal)
    sys.unraisablehook = _on_unraisable
    atexit.register(_ignore_signals)


def loaded() -> None:
    """Has the first signal interrupt the command from now on."""
    _stop.patience = 1


@contextmanager
def between_steps() -> Iterator[Callable[[], None]]:
    """Gives a function that raises KeyboardInterrupt once a signal has come; a second signal is raised at once.

    Python drops an exception that is raised while it finalises an object: one Ctrl-C in twenty had no effect.
    """

    def check() -> None:
        if _stop.signals:
            _stop.interrupt()

    patience, _stop.patience = _stop.patience, 2
    before = {number: signal.signal(number, _stop.on_signal) for number in SIGNALS}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _stop.patience = patience


def exit_code(otherwise: int) -> int:
    """Returns the exit code of a command that a signal has stopped; another where none has come, or it was done."""
    return 128 + _stop.signals[0] if _stop.signals and otherwise else otherwise


def show_cursor() -> None:
    """Shows the cursor that a display may have hidden."""
    if _stop.signals and os.isatty(2):
        os.write(2, _SHOW_CURSOR)


def leave() -> NoReturn:
    """Ends the process, and those that it started as children of its own, at once."""
    show_cursor()
    if (processes := sys.modules.get("multiprocessing")) is not None:
        for child in processes.active_children():
            child.kill()
    os._exit(exit_code(1))


def _ignore_signals() -> None:
    """Leaves a process its exit code while Python takes itself down, without our handlers: a signal would end it.

    What is registered first runs last, when nothing is left to wait for."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _on_unraisable(lost: UnraisableHookArgs) -> None:
    """Ends the process where Python would print an interrupt and go on."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        leave()
    sys.__unraisablehook__(lost)
