"""Keeps for a session what Python compiles, where it is told to keep nothing."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

import pytest


def keep_for_session(config: pytest.Config) -> None:
    """Has each module compiled once, and not by each of the hundreds of processes that tests start.

    Where ``PYTHONDONTWRITEBYTECODE`` is set, nothing is written beside the sources: the folder goes with the session.
    """
    if not sys.dont_write_bytecode:
        return
    folder = tempfile.mkdtemp(prefix="bytecode-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    sys.pycache_prefix, sys.dont_write_bytecode = folder, False
    os.environ["PYTHONPYCACHEPREFIX"] = folder
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or python -B
