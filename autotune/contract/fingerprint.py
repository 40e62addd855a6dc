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
    hands the kernel to a server, changes nothing that is timed. What is imported by a string is not seen.
    """
    if module.name != "kernel.py":
        return [module]
    found, left = set[Path](), [module]
    while left:
        if (file := left.pop()) not in found:
            found.add(file)
            imported = _imported(file, module.parent, _stamp(file))
            left += [next(filter(Path.is_file, files), file) for files in imported]
    return sorted(found)


@functools.cache
def _imported(file: Path, folder: Path, _: tuple[int, int]) -> list[list[Path]]:
    """Returns where what a file may import is, if it is of kernels: for each import the files of which the first that
    is there is meant.

    Args:
        folder: The kernel's; the one around it has all kernels.
    """
    try:
        nodes = list(ast.walk(ast.parse(read_bytes(file))))
    except (SyntaxError, RecursionError, MemoryError) as error:  # the last two of what is nested too deep
        raise ValueError(f"{file}: is no Python: {error}") from error
    found = list[list[Path]]()
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [_places(folder, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            starts = _places(folder, module)
            if node.level:
                starts = [(*file.parents,)[: node.level][-1].joinpath(*module.split("."))]
            found += [[*(start / alias.name for start in starts), *starts] for alias in node.names]
    return [[file for place in places for file in _files_of(place)] for places in found if places]


def _places(folder: Path, name: str) -> list[Path]:
    """Returns where in a kernel's folder, or in that of all kernels, what has an absolute name may be."""
    parts = name.split(".")
    ends = [(part, parts[at + 1 :]) for at, part in enumerate(parts)]
    return [root.joinpath(*rest) for root in (folder.parent, folder) for part, rest in ends if part == root.name]


def _files_of(place: Path) -> tuple[Path, Path]:
    """Returns the files that the module or package of a place may be in."""
    return place.with_name(f"{place.name}.py"), place / "__init__.py"


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
