"""Tells what the plug-in does in a process of vLLM's, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from autotune.servers.plugin.folder import entries_in
from autotune.servers.plugin.state import PluginState, decide, unknown
from autotune.servers.vllm import facts, own_file, served_modules

OPS: Final[Mapping[str, tuple[str, ...]]] = {"dense": ("lora_shrink", "lora_expand"), "moe": (facts.MOE_GROUP,)}
"""By family, the server's ops that kernels of ours can stand in for."""

PAIR: Final = "lora_linear"
"""What runs shrink and expand of a linear layer as one op."""


def current() -> PluginState:
    """Returns what the environment and the installed server come to."""
    found = _with_experts(decide(facts.NAME, facts.CONFIG_FOLDER, OPS, _why_not))
    return replace(found, ops=(*found.ops, PAIR)) if set(OPS["dense"]) <= set(found.ops) else found


def _with_experts(found: PluginState) -> PluginState:
    """Tells how many of a folder's configs are for the experts, where their op runs ours."""
    configs = found.configs
    if facts.MOE_GROUP not in found.ops or configs.path is None:
        return found
    count = entries_in(configs.path, _is_for_experts)
    return replace(found, configs=replace(configs, about=f"{configs.about}, {count or 'none'} for the experts"))


def _is_for_experts(file: str) -> bool:
    return any(own.is_name(file) for own in own_file.ALIGNED.values())


def _why_not(family: str) -> str:
    """Tells why the server's own kernels stay in any case for a family; empty if they do not."""
    for variable, what in ((facts.BATCH_INVARIANT, "batch-invariant mode"), (facts.DUAL_STREAM, "dual stream")):
        if os.environ.get(variable, "0") not in ("", "0"):
            return f"{variable} is set, and ours do not do {what}"
    return unknown(served_modules.MOE if family == "moe" else served_modules.DENSE)
