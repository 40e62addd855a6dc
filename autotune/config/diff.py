"""Compares two config files, or two folders of them, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from autotune import servers
from autotune.config.sides import ComparedSide
from autotune.errors import InputError, one_of
from autotune.servers import KeyPath
from autotune.servers.files import read_json


@dataclass(frozen=True)
class Difference:
    """One entry that is not the same on both sides; None where a side has none.

    Attributes:
        file: Relative to the folders; the second file's name where two files are compared.
    """

    file: str
    key: KeyPath
    a: dict[str, Any] | None
    b: dict[str, Any] | None

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """The parameters that differ, with both values; absent ones as None, which is another than null."""
        a, b = self.a or {}, self.b or {}
        differing = [name for name in {**a, **b} if (name in a) != (name in b) or a[name] != b[name]]
        return {name: (a.get(name), b.get(name)) for name in differing}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def differences(a: Path, b: Path, server: str | None = None) -> list[Difference]:
    """Returns the differing entries of two files, or of the files of two folders.

    Args:
        server: Whose files are compared; None for any that both sides have.

    Raises:
        InputError: If a side is missing or unreadable, one is a file and the other a folder, or they are files of
            different servers.
    """
    for path in (a, b):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; give a config file, or a folder of them")
    if a.is_dir() != b.is_dir():
        raise InputError(f"config diff: got a file and a folder ({a}, {b}), allowed: two of a kind")
    sides = ComparedSide.pair(a, b)
    _refuse_two_servers(*sides)
    files = [_of_server(side, server) for side in sides]
    if a.is_file():
        return _files(b.name, a, b)
    names = sorted(
        {path.relative_to(side.path).as_posix() for side, mine in zip(sides, files, strict=True) for path in mine}
    )
    return [found for name in names for found in _files(name, a / name, b / name)]


def _of_server(side: ComparedSide, server: str | None) -> list[Path]:
    """Lists the files of a side, or those of them that a server reads.

    Raises:
        InputError: If it reads none of them.
    """
    if server is None:
        return side.files
    found = [path for path in side.files if server in _servers_of(path)]
    if side.files and not found:
        raise InputError(
            f"--runtime {server}: {side.path} has no file of it; leave the flag out, or name the other server"
        )
    return found


def _refuse_two_servers(one: ComparedSide, other: ComparedSide) -> None:
    a, b = one.path, other.path
    of_a, of_b = (sorted({name for path in side.files for name in _servers_of(path)}) for side in (one, other))
    if of_a and of_b and not set(of_a) & set(of_b):
        raise InputError(
            f"config diff: got files of {one_of(of_a)} ({a}) and of {one_of(of_b)} ({b}), whose entries are never the "
            "same; allowed: two sides of one server"
        )


def _servers_of(path: Path) -> Iterator[str]:
    """Yields the servers that a file's name is of."""
    key = next((key for key, _ in _entries(read_json(path))), ())
    for name in servers.names():
        try:
            known = servers.get(name).reverse_lookup.place_of(PurePath(path), key) is not None
        except InputError:
            known = True  # The name is the server's; the key is one that it does not look up.
        if known:
            yield name


def _files(name: str, a: Path, b: Path) -> list[Difference]:
    left, right = (dict(_entries(read_json(path))) if path.exists() else {} for path in (a, b))
    return [
        Difference(name, key, left.get(key), right.get(key))
        for key in sorted({*left, *right}, key=lambda key: [(len(part), part) for part in key])
        if left.get(key) != right.get(key)
    ]


def _entries(node: Any, key: KeyPath = ()) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Yields the innermost objects, at any number of levels."""
    if not isinstance(node, dict):
        return
    inner = {name: child for name, child in node.items() if isinstance(child, dict)}
    if not inner and node:
        yield key, node
    for name, child in inner.items():
        yield from _entries(child, (*key, name))
