"""Makes tables that several processes may make at the same time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

_TRIES = 20
_PAUSE_S = 0.1

T = TypeVar("T")


def made_by_all(make: Callable[[], T]) -> T:
    """Makes tables, where others may make the very same: whoever comes second fails, and finds them the next time."""
    for _ in range(_TRIES):
        try:
            return make()
        except (DBAPIError, StorageInternalError) as error:
            if not _made_meanwhile(error):
                raise
            time.sleep(_PAUSE_S * random.random())
    return make()


def _made_meanwhile(error: DBAPIError | StorageInternalError) -> bool:
    """Tells whether something was there that was not a moment before; each database says so in its own way."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, IntegrityError | ProgrammingError):
        return True
    return "already exists" in str(cause) or "database is locked" in str(cause)
