"""Says where the tool keeps things: its storage, and the cache of compiled kernels. Nothing else is written outside
storage and output (law 6)."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

from autotune.errors import InputError

DEFAULT_STORAGE_URL = "sqlite:///autotune.db"


def cache_dir() -> Path:
    """Returns ``$AUTOTUNE_CACHE_DIR``, else ``lora-autotune`` in the user's cache folder."""
    if named := os.environ.get("AUTOTUNE_CACHE_DIR"):
        return Path(named)
    from platformdirs import user_cache_path  # here, because a server that loads the plug-in may lack it

    return Path(user_cache_path("lora-autotune"))


def triton_cache_dir() -> Path:
    """Returns the folder of compiled kernels.

    It is apart from the user's ``~/.triton``: a stale entry there has given wrong results before.
    """
    return cache_dir() / "triton"


def check_writable(folder: Path) -> None:
    """Makes a cache folder where there is none, before processes that fill it are started.

    Raises:
        InputError: If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: the cache of compiled kernels cannot be written to ({error.strerror}); "
            "free it, or set AUTOTUNE_CACHE_DIR to another folder"
        ) from error
