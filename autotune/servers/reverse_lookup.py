"""Finds the call that looks at a place in a config file, and what a problem of that call needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from autotune.contract import Call, registry
from autotune.errors import InputError, one_of
from autotune.servers.files import KeyPath


@dataclass(frozen=True)
class Place:
    """One entry's place, as its server gets there.

    Attributes:
        gpu: The server's GPU, as the file's name spells it.
        call: The lookup that finds the very entry.
    """

    gpu: str
    call: Call


class ReverseLookup:
    """The way back from a server's file names and keys; this one is of a server that has none."""

    def place_of(self, file: PurePath, key: KeyPath) -> Place | None:
        """Finds the lookup that ends at this key of a file; None if the server reads no file of this name.

        Args:
            file: Of which the name counts, and where the server has them those of its folders.

        Raises:
            InputError: If the server reads the file, but never looks there.
        """
        return None

    def flags_of(self, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the flags of a problem that the call's sizes stand for.

        Args:
            given: What is assumed for the flags that they do not tell.

        Raises:
            InputError: If a flag that the problem needs is in neither.
        """
        return {}

    def kernels_of(self, call: Call, flags: Mapping[str, Any], path: str) -> Sequence[str]:
        """Names the kernels that may make the call.

        Args:
            flags: All that is known of the problem.
            path: Which kernels of a group the server runs, one of `autotune.contract.groups.paths`.

        Raises:
            InputError: If the flags do not tell, or nothing makes the call.
        """
        return (registry.of_server(call.op, call.server),)


def numbers(levels: Sequence[str], key: KeyPath) -> dict[str, int]:
    """Returns the sizes that a key stands for, by level.

    Raises:
        InputError: If a server finds no entry there.
    """
    if len(key) != len(levels) or not all(part.isdecimal() for part in key):
        raise InputError(f"{'/'.join(key) or 'the top'}: no entry that a server finds; its levels: {one_of(levels)}")
    return {level: int(part) for level, part in zip(levels, key, strict=True)}
