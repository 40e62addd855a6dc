"""Decides whether a file of Python that somebody else names may run here."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from autotune.contract.fingerprint import file_fingerprint


def distrust(path: Path, fingerprint: str) -> str | None:
    """Tells why a kernel's file may not run without the user's word; None if it may.

    It may if it is the user's own, nobody else can write to it, and it is what it was when its study was created.

    Args:
        fingerprint: What its study says that it was.
    """
    try:
        about = path.stat()
        if about.st_uid != os.getuid():
            return "which is not your own"
        if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "which others can write to"
        if file_fingerprint(path) != fingerprint:
            return "which is not what the study was created with"
    except (OSError, ValueError) as error:
        return f"which cannot be read ({getattr(error, 'strerror', None) or error})"
    return None
