"""What the plug-in does in a process, and why: decided before anything is changed, so that it can be told as well."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from autotune.errors import InputError
from autotune.servers.plugin import switch
from autotune.servers.plugin.folder import TunedFolder
from autotune.servers.source_check import source_hash
from autotune.servers.vllm import facts
from autotune.servers.vllm.served_modules import DENSE, OPS_PACKAGE

OPS: Final[Mapping[str, tuple[str, ...]]] = {"dense": ("lora_shrink", "lora_expand")}
"""By family, the server's ops that kernels of ours can stand in for."""


@dataclass(frozen=True)
class PluginState:
    """What the plug-in does in a process.

    Attributes:
        ops: The server's ops that run our kernels.
        configs: Where their configs come from.
        why_not: Why there are none, though the switch is on.
        ignored: One line on what the switch says that is not understood.
    """

    ops: tuple[str, ...]
    configs: TunedFolder
    why_not: str = ""
    ignored: str = ""

    @property
    def line(self) -> str:
        """One line for the log; empty where the switch is off."""
        if self.ops:
            return f"{facts.NAME}'s {', '.join(self.ops)} run this project's kernels; configs: {self.configs.about}"
        return f"{facts.NAME} runs its own kernels: {self.why_not}" if self.why_not else ""


def current() -> PluginState:
    """Returns what the environment and the installed server come to."""
    said = switch.read()
    configs = TunedFolder.of(facts.CONFIG_FOLDER)
    if not said.families:
        return PluginState((), configs, ignored=said.ignored)
    ops = tuple(op for family, found in OPS.items() if family in said.families for op in found)
    why_not = _why_not() if ops else f"none of ours stands in for {', '.join(sorted(said.families))} yet"
    return PluginState(() if why_not else ops, configs, why_not, said.ignored)


def _why_not() -> str:
    """Tells why the server's own kernels stay in any case; empty if they do not."""
    for variable, what in ((facts.BATCH_INVARIANT, "batch-invariant mode"), (facts.DUAL_STREAM, "dual stream")):
        if os.environ.get(variable, "0") not in ("", "0"):
            return f"{variable} is set, and ours do not do {what}"
    try:
        found = source_hash(DENSE.files().values())
    except (InputError, OSError, SyntaxError):
        return f"{_version()} has no LoRA ops where they are known to be, in {OPS_PACKAGE}"
    if found not in DENSE.known.values():
        return f"the LoRA ops of {_version()} have sources {found}, known are those of {', '.join(DENSE.known)}"
    return ""


def _version() -> str:
    try:
        return f"{facts.NAME} {version(facts.NAME)}"
    except PackageNotFoundError:
        return f"this {facts.NAME}"
