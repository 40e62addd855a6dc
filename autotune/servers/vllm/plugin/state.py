"""What the plug-in does in a process of vLLM's, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from autotune.servers.plugin.state import PluginState, decide, unknown
from autotune.servers.vllm import facts
from autotune.servers.vllm.served_modules import DENSE

OPS: Final[Mapping[str, tuple[str, ...]]] = {"dense": ("lora_shrink", "lora_expand")}
"""By family, the server's ops that kernels of ours can stand in for."""


def current() -> PluginState:
    """Returns what the environment and the installed server come to."""
    return decide(facts.NAME, facts.CONFIG_FOLDER, OPS, _why_not)


def _why_not() -> str:
    """Tells why the server's own kernels stay in any case; empty if they do not."""
    for variable, what in ((facts.BATCH_INVARIANT, "batch-invariant mode"), (facts.DUAL_STREAM, "dual stream")):
        if os.environ.get(variable, "0") not in ("", "0"):
            return f"{variable} is set, and ours do not do {what}"
    return unknown(DENSE)
