"""Tells by its source whether a kernel is still the one that was timed."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path

from autotune.contract.kernel import AnyKernel
from autotune.untrusted.reading import read_bytes


def kernel_fingerprint(kernel: AnyKernel) -> str:
    """Hashes a kernel's source: its folder, those it includes and what built-in kernels share, the one file it lives
    in, or the modules of a server's package.

    Raises:
        InputError: For a server's own kernel whose package is not installed here.
    """
    if (origin := kernel.origin()) is not None:
        return origin.source_hash
    return file_fingerprint(Path(inspect.getfile(type(kernel))), kernel.includes)


def file_fingerprint(module: Path, includes: Sequence[str] = ()) -> str:
    """Hashes the source of a kernel in a file, without running any of it.

    Args:
        includes: As a kernel's own `includes`.

    Raises:
        OSError: If it cannot be read.
        ValueError: If something of it is no regular file, or is too large.
    """
    files = [module]
    if module.name == "kernel.py":
        folders = [module.parent, *(module.parents[1] / name for name in ("common", *includes))]
        files = sorted(file for folder in folders for file in folder.glob("*.py"))
    return hashlib.sha256(b"".join(read_bytes(file) for file in files)).hexdigest()[:16]
