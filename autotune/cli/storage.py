"""Opens the storage for a command that writes to it, and keeps Optuna quiet."""

from __future__ import annotations

import optuna
from optuna.storages import BaseStorage

from autotune.study import storage


def open_storage(url: str, create: bool = False) -> BaseStorage:
    """Opens the storage at a URL, to write to it.

    Raises:
        InputError: As `autotune.study.storage.open_storage`.
    """
    quiet_optuna()
    return storage.open_storage(url, create)


def quiet_optuna() -> None:
    """Keeps Optuna's own progress lines off stderr, where ours are."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
