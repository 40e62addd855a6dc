"""Tells by its source whether a kernel is still the one that was timed."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterable, Sequence
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
    files = _files(Path(inspect.getfile(type(kernel))), kernel.includes)
    return _hash_as_stamped(tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


def file_fingerprint(module: Path, includes: Sequence[str] = ()) -> str:
    """Hashes the source of a kernel in a file, without running any of it.

    Args:
        includes: As a kernel's own `includes`.

    Raises:
        OSError: If it cannot be read.
        ValueError: If something of it is no regular file, or is too large.
    """
    return _hash(_files(module, includes))


def _files(module: Path, includes: Sequence[str]) -> list[Path]:
    """Returns the files that a kernel's source is in."""
    if module.name != "kernel.py":
        return [module]
    folders = [module.parent, *(module.parents[1] / name for name in ("common", *includes))]
    return sorted(file for folder in folders for file in folder.glob("*.py"))


@functools.cache
def _hash_as_stamped(stamped: tuple[tuple[Path, int, int], ...]) -> str:
    """Hashes files once as long as they are as they were: every study of a plan asks for it."""
    return _hash([file for file, *_ in stamped])


def _hash(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(read_bytes(file) for file in files)).hexdigest()[:16]
