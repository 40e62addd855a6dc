"""Decides what a plug-in does in a process, and why, before anything is changed, so that it can be told as well."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from autotune.errors import InputError
from autotune.servers.plugin import switch
from autotune.servers.plugin.folder import TunedFolder
from autotune.servers.source_check import ServedModules, source_hash


@dataclass(frozen=True)
class PluginState:
    """What a plug-in does in a process.

    Attributes:
        server: The server's name.
        ops: The server's ops that run our kernels.
        configs: Where their configs come from.
        why_not: Why there are none, or not all that the switch asks for.
        ignored: One line on what the switch says that is not understood.
    """

    server: str
    ops: tuple[str, ...]
    configs: TunedFolder
    why_not: str = ""
    ignored: str = ""

    @property
    def line(self) -> str:
        """One line for the log; empty where the switch is off."""
        if self.ops:
            runs = "run" if len(self.ops) > 1 else "runs"
            ours = f"{self.server}'s {', '.join(self.ops)} {runs} this project's kernels; configs: {self.configs.about}"
            return f"{ours}; the server's own kernels run for {self.why_not}" if self.why_not else ours
        return f"{self.server} runs its own kernels: {self.why_not}" if self.why_not else ""


def decide(
    server: str, folder_variable: str, ops: Mapping[str, tuple[str, ...]], why_not: Callable[[str], str]
) -> PluginState:
    """Returns what the environment and the installed server come to.

    Args:
        server: The server's name.
        folder_variable: The variable that names the server's own folder of configs.
        ops: By family of the switch, the server's ops that kernels of ours can stand in for.
        why_not: Tells why the server's own kernels stay in any case for a family; empty if they do not.
    """
    said = switch.read()
    configs = TunedFolder.of(folder_variable)
    if not said.families:
        return PluginState(server, (), configs, ignored=said.ignored)
    foreign = _foreign_gpu()
    reasons = {family: foreign or why_not(family) for family in ops if family in said.families}
    if not reasons:
        none = f"none of ours stands in for {', '.join(sorted(said.families))} yet"
        return PluginState(server, (), configs, none, said.ignored)
    taken = tuple(op for family, reason in reasons.items() if not reason for op in ops[family])
    return PluginState(server, taken, configs, _told(reasons), said.ignored)


def _foreign_gpu() -> str:
    """Tells whether the GPU is of another maker than those that our kernels are proven on, which torch calls by the
    same names."""
    # Torch is loaded where the switch is on alone; who asks where there is none, as `doctor` may, is told of that.
    with suppress(ImportError):
        if getattr(importlib.import_module("torch.version"), "hip", None):
            return "this torch is for AMD's GPUs, and ours are proven on NVIDIA's alone"
    return ""


def _told(reasons: Mapping[str, str]) -> str:
    """Tells the reasons of families: by family, unless all of them have the same one."""
    if len(found := set(reasons.values())) == 1:
        return found.pop()
    return "; ".join(f"{family}: {reason}" for family, reason in reasons.items() if reason)


def unknown(modules: ServedModules) -> str:
    """Tells what is not known of the installed server's ops; empty if their sources are those of a known release."""
    try:
        found = source_hash(modules.files().values())
    except (InputError, OSError, SyntaxError):
        return f"{_installed(modules.package)} has no LoRA ops where they are known to be, in {modules.names[0][0]}"
    if found not in modules.known.values():
        known = ", ".join(modules.known)
        return f"the LoRA ops of {_installed(modules.package)} have sources {found}, known are those of {known}"
    return ""


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"this {package}"
