"""Tells what the plug-in does in a process of SGLang's, and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from autotune.servers.plugin.state import PluginState, decide, unknown
from autotune.servers.sglang import facts, served_modules

OPS: Final[Mapping[str, tuple[str, ...]]] = {"dense": ("csgmv_shrink", "csgmv_expand")}
"""By family, the server's ops that kernels of ours can stand in for."""


def current() -> PluginState:
    """Returns what the environment and the installed server come to."""
    return decide(facts.NAME, facts.CONFIG_FOLDER, OPS, _why_not)


def _why_not(family: str) -> str:
    """Tells why the server's own kernels stay in any case; empty if they do not."""
    if os.environ.get(facts.DETERMINISTIC, "0").lower() not in ("", "0", "false"):
        return f"{facts.DETERMINISTIC} is set, and ours do not do deterministic inference"
    return unknown(served_modules.CSGMV)
