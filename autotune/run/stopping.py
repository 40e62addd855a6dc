"""Says where a stopped run was, and that it may go on from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from autotune.errors import AutotuneError


@contextmanager
def told_where(name: str) -> Iterator[None]:
    """Has a run that is stopped in a block end with an error that names the study or group it was at.

    Raises:
        AutotuneError: If the block was interrupted.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise AutotuneError(f"stopped in {name}; nothing measured is lost: study run goes on from here") from None
