"""Defines the errors a user can meet.

    AutotuneError       exit code 1: the tool could not do what was asked
      InputError        exit code 2: what was asked cannot be done; says what, got, allowed, next step
        NotInstalledError
        MissingFlagError
      StorageError      exit code 1: the storage failed or is gone
      HeldError         exit code 1: not now, since another process is at it

A config that fails is no error: it is data on its trial (see `autotune.measure.result`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class AutotuneError(Exception):
    """The tool could not finish what it was asked to do."""

    exit_code = 1


class InputError(AutotuneError):
    """What was asked cannot be done; nothing has been written."""

    exit_code = 2


class NotInstalledError(InputError):
    """What was asked needs a package that is not installed here."""


class MissingFlagError(InputError):
    """A flag that has no default was not given.

    Attributes:
        flag: Its name, as a kernel asks for it.
        shown: How users spell it, and what stands for it.
    """

    def __init__(self, flag: str, alternative: str = "") -> None:
        option = f"--{flag.replace('_', '-')}"
        super().__init__(f"{option}: not given; pass {option} <positive integer> {alternative}".rstrip())
        self.flag = flag
        self.shown = f"{option} ({alternative.strip('()')})" if alternative else option


class StorageError(AutotuneError):
    """The storage cannot be written or read, or is not there any more."""


class HeldError(AutotuneError):
    """Another process has what is wanted; it may be free later."""


def one_of(names: Iterable[object]) -> str:
    """Spells out the allowed values for an error message."""
    return ", ".join(str(name) for name in names)


def some_of(names: Sequence[object], most: int = 5) -> str:
    """Spells out the first few of what may be hundreds, and counts the others."""
    others = len(names) - most
    return one_of(names[:most]) + (f" and {others} more" if others > 0 else "")
