"""Refuses studies of a group's built-in kernels where the plug-in launches others in their place, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from autotune import servers
from autotune.api.problems import Problems
from autotune.contract import Call, groups, registry
from autotune.contract.groups import GroupKind
from autotune.contract.source import BOTH, BUILTIN, SERVED
from autotune.errors import InputError, one_of
from autotune.study import creation


def refuse_unread(problems: Problems, source: str) -> None:
    """Refuses a group whose built-in kernels are asked for and whose files nobody reads. A path that is named has them
    timed all the same: then they are not meant to be served.

    Args:
        source: One of `autotune.contract.source.SOURCES`, or `autotune.contract.source.BOTH`.

    Raises:
        InputError: If it is one; it names what to tune instead.
    """
    kind = groups.find(problems.kernel)
    if kind is None or source not in (BUILTIN, BOTH) or (source == BUILTIN and problems.path is not None):
        return
    members = kind.members[kind.path(problems.path or groups.AUTO, problems.values)]
    if set(members) <= set(servers.get(kind.server).plugin_kernels):
        return
    anyway = f"; with --path {one_of(kind.members)} they are timed all the same" if source == BUILTIN else ""
    raise InputError(
        f"--source {source}: got {kind.name}, whose built-in kernels are not what the plug-in launches; "
        f"{_instead(kind, members, problems)}{anyway}"
    )


def _instead(kind: GroupKind, members: tuple[str, ...], problems: Problems) -> str:
    """Says what to tune instead."""
    served = f"tune the server's own with --source {SERVED}"
    if not (found := _replacements(kind, members, problems)):
        return f"it leaves these shapes to the server: {served}"
    return f"{served}, and what it launches in their place with tune --model, or by --op-type {one_of(found)}"


def _replacements(kind: GroupKind, members: tuple[str, ...], problems: Problems) -> list[str]:
    """Returns the kernels that the plug-in launches in place of a group's members."""
    server, found = servers.get(kind.server), list[str]()
    looked_up = {call.op for name in members for call in _calls(name, problems)}
    for name in server.plugin_kernels:
        with suppress(InputError):  # Others have other flags.
            if any(each.op in looked_up for call in _calls(name, problems) for each in server.replaces(call)):
                found.append(name)
    return found


def _calls(name: str, problems: Problems) -> Iterator[Call]:
    """Yields what a kernel's problems look up."""
    kernel = registry.load(name)
    for problem in creation.problems(name, problems.values, problems.m_values):
        if (call := kernel.call(problem)) is not None:
            yield call
