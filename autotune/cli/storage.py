"""Opens the storage for a command."""

from __future__ import annotations

import optuna
from optuna.storages import BaseStorage

from autotune.study import storage


def open_storage(url: str, create: bool = False) -> BaseStorage:
    """Opens the storage at a URL, and keeps Optuna's own progress lines off stderr, where ours are.

    Raises:
        InputError: As `autotune.study.storage.open_storage`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return storage.open_storage(url, create)
