"""The tool's cache folder: compiled kernels. Nothing else is written outside storage and output (law 6)."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_dir() -> Path:
    """Returns ``$AUTOTUNE_CACHE_DIR``, else ``lora-autotune`` in the user's cache folder."""
    return Path(os.environ.get("AUTOTUNE_CACHE_DIR") or user_cache_path("lora-autotune"))


def triton_cache_dir() -> Path:
    """Returns the folder of compiled kernels.

    It is apart from the user's ``~/.triton``: a stale entry there has given wrong results before.
    """
    return cache_dir() / "triton"
