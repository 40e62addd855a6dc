"""Defines groups: kernels that a server runs with one common value of a parameter are tuned together.

A kernel's folder registers the kinds of group that its kernels form: the module ``autotune.kernels.<folder>.group`` has
a list `GROUPS`. It is read for the command line's help, too, so it must load without torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.contract import registry, source
from autotune.errors import InputError, one_of

AUTO = "auto"
"""The path that a server takes by itself."""


@dataclass(frozen=True)
class GroupKind:
    """A kind of group.

    Attributes:
        name: What ``--op-type`` takes for the whole group.
        server: Whose kernels they are.
        shared: The parameter that must be equal in all members.
        members: The kernels, by the path on which a server runs them; those of a server's own package go by these
            names, too.
        served_path: Says which path a server takes for flag values.
    """

    name: str
    server: str
    shared: str
    members: Mapping[str, tuple[str, ...]]
    served_path: Callable[[Mapping[str, Any]], str]

    def path(self, wanted: str, values: Mapping[str, Any]) -> str:
        """Returns the path to tune: the one asked for, or with `AUTO` the one that a server takes for these values."""
        return self.served_path(values) if wanted == AUTO else wanted


@functools.cache
def kinds() -> tuple[GroupKind, ...]:
    """Finds the kinds of group of this installation."""
    return tuple(kind for module in registry.folder_modules("group") for kind in module.GROUPS)


def paths() -> tuple[str, ...]:
    """Lists what a user may ask for as the path of a group."""
    return (AUTO, *dict.fromkeys(path for kind in kinds() for path in kind.members))


def find(op_type: str) -> GroupKind | None:
    """Returns the kind of group that an ``--op-type`` names, None for a kernel."""
    return next((kind for kind in kinds() if kind.name == op_type), None)


def membership(kernel: str) -> tuple[GroupKind, str] | None:
    """Returns the kind of group that a kernel is of, whatever its source, and its path; None if it is of none."""
    name, _, _ = source.split(kernel)
    found = ((kind, path) for kind in kinds() for path, members in kind.members.items() if name in members)
    return next(found, None)


def kind_of(kernel: str) -> tuple[GroupKind, str]:
    """Returns the kind of group that a kernel is of, and its path.

    Raises:
        InputError: If it is of none.
    """
    if (found := membership(kernel)) is None:
        allowed = one_of(name for kind in kinds() for members in kind.members.values() for name in members)
        raise InputError(f"group: got kernel {kernel!r}, allowed: {allowed}")
    return found


def concerns(kernel: str) -> bool:
    """Tells whether a kernel is of a group, or names one."""
    return find(kernel) is not None or membership(kernel) is not None
