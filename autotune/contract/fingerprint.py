"""Tells by its source whether a kernel is still the one that was timed."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
from collections.abc import Iterable
from pathlib import Path

from autotune.contract.kernel import AnyKernel
from autotune.untrusted.reading import read_bytes


def kernel_fingerprint(kernel: AnyKernel) -> str:
    """Hashes a kernel's source: its module with the modules of kernels that it imports, the one file it lives in, or
    the modules of a server's package.

    Raises:
        InputError: For a server's own kernel whose package is not installed here.
    """
    if (origin := kernel.origin()) is not None:
        return origin.source_hash
    files = _files(Path(inspect.getfile(type(kernel))))
    return _hash_as_stamped(tuple((file, *_stamp(file)) for file in files))


def file_fingerprint(module: Path) -> str:
    """Hashes the source of a kernel in a file, without running any of it.

    Raises:
        OSError: If it cannot be read.
        ValueError: If something of it is no regular file, or is too large.
    """
    return _hash(_files(module))


def _files(module: Path) -> list[Path]:
    """Returns the files that a kernel's source is in.

    Of a folder these are what its module imports of all kernels, from wherever in a file: what stands beside, as what
    hands the kernel to a server, changes nothing that is timed.
    """
    if module.name != "kernel.py":
        return [module]
    found, left = set[Path](), [module]
    while left:
        if (file := left.pop()) not in found:
            found.add(file)
            left += [place for place in _imported(file, module.parents[1], _stamp(file)) if place.is_file()]
    return sorted(found)


@functools.cache
def _imported(file: Path, kernels: Path, _: tuple[int, int]) -> list[Path]:
    """Returns where the modules of kernels are that a file may import; names that are no module's are among them."""
    try:
        nodes = list(ast.walk(ast.parse(read_bytes(file))))
    except SyntaxError as error:
        raise ValueError(f"{file}: is no Python: {error}") from error
    found = list[Path]()
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [place for alias in node.names if (place := _within(kernels, alias.name))]
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").replace(".", "/")
            start = file.parents[node.level - 1] / module if node.level else _within(kernels, node.module or "")
            found += [start, *(start / alias.name for alias in node.names)] if start else []
    return [place.with_suffix(".py") for place in found]


def _within(kernels: Path, name: str) -> Path | None:
    """Returns where in the folder of all kernels a module or package is; None for one of elsewhere."""
    parts = name.split(".")
    return kernels.joinpath(*parts[parts.index(kernels.name) + 1 :]) if kernels.name in parts else None


def _stamp(file: Path) -> tuple[int, int]:
    """Tells a file from what it was: when it was written, and its bytes."""
    found = file.stat()
    return found.st_mtime_ns, found.st_size


@functools.cache
def _hash_as_stamped(stamped: tuple[tuple[Path, int, int], ...]) -> str:
    """Hashes files once as long as they are as they were: every study of a plan asks for it."""
    return _hash([file for file, *_ in stamped])


def _hash(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(read_bytes(file) for file in files)).hexdigest()[:16]
