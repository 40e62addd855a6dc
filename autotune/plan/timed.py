"""Tells whose kernel the studies of a plan time, before any is made and without torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from autotune import servers
from autotune.contract import groups, registry, source
from autotune.environment import installed_version
from autotune.errors import one_of
from autotune.plan.by_source import entries_of, sources_of
from autotune.plan.plan import Entry, Plan
from autotune.study.sources import Choice, choose, other_compiler, refuse_unrunnable


@dataclass(frozen=True)
class TimedKernel:
    """The kernel that studies of one op time.

    Attributes:
        name: The built-in kernel of the op, as `Entry.kernel` has it, or a member of that group.
        server: The server that reads the results.
        triton: What compiles it here; None where none is installed.
        backend: ``cuda``, or ``replay``, which has the times of whatever kernel was recorded.
    """

    name: str
    server: str
    choice: Choice
    triton: str | None
    backend: str = "cuda"

    @property
    def reference(self) -> str:
        """The kernel's name as its studies have it."""
        origin = self.choice.origin
        return source.join(self.name, self.choice.source, origin.version) if origin else self.name

    @property
    def told(self) -> str:
        """What is timed and why, to be read behind the kernel's name."""
        if self.backend == "replay":
            return "times what its recording was made of"
        return f"times {self._whose} ({self.choice.why}; Triton {self.triton or 'not installed'})"

    @property
    def _whose(self) -> str:
        if (origin := self.choice.origin) is not None:
            return f"{origin}'s own kernel, sources {origin.source_hash}"
        if self.name in servers.get(self.server).plugin_kernels:
            return f"this project's kernel, whose files a {self.server} server reads with its plug-in only"
        return "this project's kernel, whose files nobody reads, since the plug-in does not launch it"

    def to_json(self) -> dict[str, Any]:
        origin = self.choice.origin
        return {
            "kernel": self.reference,
            "source": self.choice.source,
            "package": origin.package if origin else None,
            "version": origin.version if origin else None,
            "source_hash": origin.source_hash if origin else None,
            "known": not origin.unknown if origin else None,
            "requires": origin.requires if origin else None,
            "triton": self.triton,
            "why": self.choice.why,
        }


def timed_kernels(plan: Plan, wanted: str = source.AUTO, backend: str = "cuda") -> dict[str, TimedKernel]:
    """Tells which kernel each of a plan's lookups would be timed on, by the names of the built-in kernels.

    Args:
        wanted: One of `autotune.contract.source.SOURCES`.
        backend: ``cuda``, or ``replay``.

    Raises:
        InputError: If the server's own kernel is asked for and cannot be had, or its package is there twice.
    """
    return _timed(_names(plan.entries), plan, wanted, backend)


def _timed(names: Iterable[str], plan: Plan, wanted: str, backend: str) -> dict[str, TimedKernel]:
    triton = installed_version("triton")
    server = plan.serving.server
    choices = {name: choose(name, server, wanted, backend) for name in names}
    return {name: TimedKernel(name, server, choice, triton, backend) for name, choice in choices.items()}


def all_timed_kernels(plan: Plan, wanted: str, backend: str = "cuda") -> list[TimedKernel]:
    """Tells which kernels the studies of a plan would time, of each source (`autotune.plan.by_source.sources_of`).

    Args:
        wanted: As in `timed_kernels`, or `autotune.contract.source.BOTH`.
    """
    found: dict[tuple[str, str], TimedKernel] = {}
    for each in sources_of(wanted):
        entries = entries_of(plan, each)
        names = _names([*entries.searched, *entries.in_one_launch, *entries.replacements])
        for kernel in _timed(names, plan, each, backend).values():
            found.setdefault((kernel.name, kernel.choice.source), kernel)
    return list(found.values())


def refuse_unrunnable_experts(plan: Plan, timed: Iterable[TimedKernel]) -> None:
    """Raises InputError if there are lookups of experts that no config runs on the server's own kernels.

    Their studies would be refused all the same. Dense kernels run all that is planned, and are not loaded for it, which
    takes a second.
    """
    of_server = {each.name: each.reference for each in timed if each.choice.origin is not None}
    for entry in (*plan.entries, *plan.races):
        for name in entry.members if groups.find(entry.kernel) else ():
            if (reference := of_server.get(name)) is not None:
                kernel = registry.load(reference)
                refuse_unrunnable(kernel, kernel.problem_from_flags(entry.flags))


def timed_lines(timed: Iterable[TimedKernel]) -> list[str]:
    """Says whose kernels are timed and why; one line for all that are alike."""
    alike: dict[str, list[str]] = {}
    for each in timed:
        alike.setdefault(each.told, []).append(each.name)
    return [f"{one_of(names)}: {told}" for told, names in alike.items()]


def what_to_mind(timed: Iterable[TimedKernel]) -> list[str]:
    """Says of which kernels the release is not known, or asks for another compiler than the one here; one line each."""
    torch, lines = installed_version("torch"), []
    for each in timed:
        origin = each.choice.origin
        lines += [origin.unknown] if origin and origin.unknown else []
        lines += other_compiler(origin, torch, each.triton)
    return list(dict.fromkeys(lines))


def _names(entries: Iterable[Entry]) -> list[str]:
    """Returns the kernels of a plan's studies, each once, members for a group."""
    return list(dict.fromkeys(name for entry in entries for name in entry.members))
