"""Mends the standard streams of a process that was started with some of them closed, or that take no more."""

from __future__ import annotations

import errno
import os
import sys

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def open_closed() -> None:
    """Opens what is closed on nothing, before a file of the tool's takes its place and its output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(descriptor, "r" if number == 0 else "w", closefd=False))


def cannot_be_written(error: BaseException) -> str | None:
    """Returns what to tell where a disk is full, or a stream; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return None
    return f"{error.filename or 'output'}: {error.strerror}; make room there, and run the command again"


def drop_unwritten() -> None:
    """Drops what standard output does not take, about which Python would complain as it ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
