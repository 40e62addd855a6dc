"""Tells whose kernel the studies of a plan time, before any is made and without torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from autotune import servers
from autotune.contract import groups, source
from autotune.environment import installed_version
from autotune.errors import one_of
from autotune.plan.plan import Entry, Plan
from autotune.servers.plugin import switch
from autotune.study.sources import Choice, choose, other_compiler


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
        origin = self.choice.origin
        whose = (
            f"{origin}'s own kernel, sources {origin.source_hash}"
            if origin is not None
            else f"this project's kernel, whose files a {self.server} server reads with its plug-in only"
        )
        return f"times {whose} ({self.choice.why}; Triton {self.triton or 'not installed'})"

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


def wants_ours(wanted: str) -> bool:
    """Tells whether the plug-in's kernels of a plan are tuned: where they are asked for, or it is switched on."""
    return wanted in (source.BOTH, source.BUILTIN) or (wanted == source.AUTO and bool(switch.read().families))


def all_timed_kernels(plan: Plan, wanted: str, backend: str, for_plugin: bool) -> list[TimedKernel]:
    """Tells which kernels the studies of a plan would time, where those of several sources may be made.

    Args:
        wanted: As in `timed_kernels`, or `autotune.contract.source.BOTH`.
        for_plugin: The plug-in's kernels are tuned as well (`autotune.plan.studies.describe`).
    """
    found = timed_kernels(plan, source.SERVED if wanted == source.BOTH else wanted, backend)
    ours = timed_kernels(plan, source.BUILTIN, backend) if for_plugin else {}
    kernels = servers.get(plan.serving.server).plugin_kernels
    beside = [name for name in ours if name in kernels and found[name].choice.source != source.BUILTIN]
    if wanted == source.BUILTIN:
        launched = _names(plan.launched_by_plugin(plan.entries))
        found = {name: each for name, each in found.items() if name in launched}
    prepared = _timed(_names(plan.prepared), plan, source.BUILTIN, backend) if for_plugin else {}
    return [*found.values(), *(ours[name] for name in beside), *prepared.values()]


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
    found: dict[str, None] = {}
    for entry in entries:
        group = groups.find(entry.kernel)
        members = group.members[group.path(groups.AUTO, entry.flags)] if group else (entry.kernel,)
        found |= dict.fromkeys(members)
    return list(found)
