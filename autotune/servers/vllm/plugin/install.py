"""Installs our kernels in this process."""

from __future__ import annotations

import importlib
from typing import Any, Final

from autotune.servers.plugin import offers
from autotune.servers.plugin.kernel_configs import KernelConfigs
from autotune.servers.plugin.notices import one_line, warn_once
from autotune.servers.plugin.offers import Offer
from autotune.servers.plugin.state import PluginState
from autotune.servers.vllm import facts
from autotune.servers.vllm.plugin import layers
from autotune.servers.vllm.plugin.linear import PairOrApart
from autotune.servers.vllm.plugin.lookups import FolderLookup
from autotune.servers.vllm.plugin.override import is_overridden, override, restore
from autotune.servers.vllm.plugin.stand_in import OursOrTheirs
from autotune.servers.vllm.plugin.state import PAIR
from autotune.servers.vllm.plugin.tracing import traced
from autotune.servers.vllm.served_modules import OPS_PACKAGE

_FOLDERS: Final = {facts.MOE_GROUP: "aligned_moe_lora"}
"""Where the kernel of an op is that does not go by the op's name."""


def install(state: PluginState) -> None:
    """Overrides the ops that run our kernels, unless this process has done so before; all of them or none."""
    try:
        for op in state.ops:
            if op != PAIR and not is_overridden(op):
                own = getattr(importlib.import_module(f"{OPS_PACKAGE}.{op}_op"), f"_{op}")
                override(facts.NAME, op, traced(op, _stand_in(op, own, state)))
    except Exception:
        restore()
        raise
    if PAIR in state.ops:
        _install_pair(state)


def _install_pair(state: PluginState) -> None:
    try:
        offer = offers.of(PAIR)
        why = layers.install(PairOrApart(offer.drop_in, _configs(state, offer, facts.LINEAR_KEYS)))
    except Exception as error:  # of a server's wrapper that is not as known: the ops that are ours stay so
        why = one_line(error)
    if why:
        warn_once(f"{PAIR}: shrink and expand run apart: {why}")


def _stand_in(op: str, own: Any, state: PluginState) -> OursOrTheirs:
    """Returns the function for an op."""
    offer = offers.of(_FOLDERS.get(op, op))
    drop_in = offer.drop_in.DROP_IN
    return OursOrTheirs(drop_in, own, _configs(state, offer, drop_in.required))


def _configs(state: PluginState, offer: Offer, required: tuple[str, ...]) -> KernelConfigs[FolderLookup]:
    return KernelConfigs(state.configs.path, FolderLookup, offer.kernel, required)
