"""Installs our kernels in this process."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from autotune.servers.plugin.notices import one_line, warn_once
from autotune.servers.plugin.state import PluginState
from autotune.servers.vllm import facts
from autotune.servers.vllm.plugin import layers
from autotune.servers.vllm.plugin.linear import PairOrApart
from autotune.servers.vllm.plugin.override import is_overridden, override, restore
from autotune.servers.vllm.plugin.stand_in import OursOrTheirs
from autotune.servers.vllm.plugin.state import PAIR
from autotune.servers.vllm.plugin.tracing import traced
from autotune.servers.vllm.served_modules import OPS_PACKAGE

_KERNELS: Final = "autotune.kernels"

_FOLDERS: Final = {facts.MOE_GROUP: "aligned_moe_lora"}
"""Where the kernel of an op is that does not go by the op's name."""


def install(state: PluginState) -> None:
    """Overrides the ops that run our kernels, unless this process has done so before; all of them or none."""
    try:
        for op in state.ops:
            if op != PAIR and not is_overridden(op):
                own = getattr(importlib.import_module(f"{OPS_PACKAGE}.{op}_op"), f"_{op}")
                override(facts.NAME, op, traced(op, _stand_in(op, own, state.configs.path)))
    except Exception:
        restore()
        raise
    if PAIR in state.ops:
        _install_pair(state)


def _install_pair(state: PluginState) -> None:
    try:
        drop_in, kernel = _offered(PAIR)
        why = layers.install(PairOrApart(drop_in, state.configs.path, kernel))
    except Exception as error:  # of a server's wrapper that is not as known: the ops that are ours stay so
        why = one_line(error)
    if why:
        warn_once(f"{PAIR}: shrink and expand run apart: {why}")


def _stand_in(op: str, own: Any, folder: Path | None) -> Any:
    """Returns the function for an op."""
    drop_in, kernel = _offered(_FOLDERS.get(op, op))
    return OursOrTheirs(drop_in.DROP_IN, own, folder, kernel)


def _offered(kernel: str) -> tuple[Any, Path]:
    """Returns the module ``drop_in`` in which a kernel of ours offers its part, and the file that tells its version.

    It is found by name, as kernels import this package and not the other way round.
    """
    module = importlib.import_module(f"{_KERNELS}.{kernel}.drop_in")
    assert module.__file__ is not None
    return module, Path(module.__file__).with_name("kernel.py")
