"""The tool's cache folder: compiled kernels and locks. Nothing else is written outside storage and output (law 6)."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from autotune.errors import InputError


def cache_dir() -> Path:
    """Returns ``$AUTOTUNE_CACHE_DIR``, else ``lora-autotune`` in the user's cache folder."""
    return Path(os.environ.get("AUTOTUNE_CACHE_DIR") or user_cache_path("lora-autotune"))


def triton_cache_dir() -> Path:
    """Returns the folder of compiled kernels.

    It is apart from the user's ``~/.triton``: a stale entry there has given wrong results before.
    """
    return cache_dir() / "triton"


def locks_dir() -> Path:
    """Returns the folder in which running studies are locked, and makes it where there is none.

    Raises:
        InputError: If it cannot be made.
    """
    folder = cache_dir() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"AUTOTUNE_CACHE_DIR: cannot make {folder} ({error.strerror}); name another folder") from error
    return folder
