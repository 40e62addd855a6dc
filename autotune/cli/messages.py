"""Tells on stderr what a user should know: with --verbose each step, with --quiet errors alone.

A log file gets all of it, with times, whatever the terminal shows.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from autotune.errors import InputError
from autotune.untrusted.printing import printable, say

if TYPE_CHECKING:
    from rich.console import Console

_LOG: Final = logging.getLogger("autotune.cli")
_LOG.propagate = False
_LOG.setLevel(logging.DEBUG)


@dataclass(frozen=True)
class MessageFlags:
    """How much a command tells; every command takes these flags."""

    verbose: bool = False
    quiet: bool = False
    log_file: Path | None = None


def tell(text: object, write: Callable[[str], None] | None = None) -> None:
    """Tells what a user should know, unless --quiet is given.

    Args:
        write: Prints it where a live display has the terminal.
    """
    _LOG.info("%s", text, extra={"write": write})


def step(text: object, write: Callable[[str], None] | None = None) -> None:
    """Tells what is being done, with --verbose."""
    _LOG.debug("%s", text, extra={"write": write})


def shows_progress() -> bool:
    """Tells whether a live display may be shown."""
    return not any(handler.level > logging.INFO for handler in _LOG.handlers)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Shows on a terminal that a command is at work, while nothing else is shown; gone when it is done."""
    step(what)
    # What draws it takes a tenth of a second to load: readers that print into a pipe do without.
    if not (shows_progress() and sys.stderr.isatty()):
        yield
        return
    with _console().status(printable(what)):
        yield


@contextmanager
def heard(flags: MessageFlags, command: str) -> Iterator[None]:
    """Has messages go where the flags say, while a command runs.

    Raises:
        InputError: If two flags contradict each other, or the log file cannot be written.
    """
    if flags.verbose and flags.quiet:
        raise InputError("--verbose: contradicts --quiet; give one of them")
    handlers: list[logging.Handler] = [_ToTerminal(_level(flags))]
    if flags.log_file is not None:
        handlers.append(_to_file(flags.log_file))
    before, _LOG.handlers = _LOG.handlers, handlers
    try:
        step(command)
        yield
    except Exception as error:
        if flags.log_file is not None:
            raised = (type(error), error, error.__traceback__)
            handlers[-1].handle(_LOG.makeRecord(_LOG.name, logging.ERROR, "", 0, str(error), (), raised))
        raise
    finally:
        _LOG.handlers = before
        for handler in handlers:
            handler.close()


class _ToTerminal(logging.Handler):
    """Prints messages as they are."""

    def emit(self, record: logging.LogRecord) -> None:
        write: Callable[[str], None] | None = getattr(record, "write", None)
        if write is not None:
            write(record.getMessage())
        else:
            say(record.getMessage(), err=True)


class _ToFile(logging.FileHandler):
    """Keeps messages; where the file takes no more, it says so once, and the command goes on."""

    _failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failed:
            self._failed = True
            say(f"--log-file: cannot write {self.baseFilename} ({error.strerror}); it misses messages", err=True)

    def close(self) -> None:
        # What could not be written is still in the stream's buffer, and fails again.
        with suppress(OSError) if self._failed else nullcontext():
            super().close()


_LOG.addHandler(_ToTerminal(logging.INFO))  # what is told while no command runs


def _level(flags: MessageFlags) -> int:
    if flags.quiet:
        return logging.ERROR
    return logging.DEBUG if flags.verbose else logging.INFO


def _to_file(path: Path) -> logging.Handler:
    try:
        handler = _ToFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise InputError(f"--log-file: cannot write {path} ({error.strerror}); name another file") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)
