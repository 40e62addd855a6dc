"""Installs our kernels in this process: the csgmv backend becomes a subclass of the server's (contracts B9)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from autotune.servers.plugin import offers
from autotune.servers.plugin.kernel_configs import KernelConfigs
from autotune.servers.plugin.notices import one_line, warn_once
from autotune.servers.plugin.state import PluginState
from autotune.servers.sglang import facts
from autotune.servers.sglang.plugin.backend import UNTRACED, OurCsgmv
from autotune.servers.sglang.plugin.stand_in import StandIn
from autotune.servers.sglang.server import SGLANG

_REGISTRY: Final = "sglang.srt.lora.backend.lora_registry"

_OWN: Final = {
    "csgmv_shrink": "chunked_sgmv_lora_shrink_forward",
    "csgmv_expand": "chunked_sgmv_lora_expand_forward",
}
"""By op, the name of the server's own function in the backend's module (contracts B8)."""

_factories: Final[dict[str, Callable[[], Any]]] = {}
"""By backend, the server's own factory."""


def install(state: PluginState) -> None:
    """Has the server make our backend in its own's place, unless this process has done so before."""
    if _factories:
        return
    backends = importlib.import_module(_REGISTRY).LORA_SUPPORTED_BACKENDS
    own = _factories[facts.BACKEND] = backends[facts.BACKEND]
    backends[facts.BACKEND] = lambda: _backend(own(), state.configs.path)


def restore() -> None:
    """Gives the server its own backend back."""
    importlib.import_module(_REGISTRY).LORA_SUPPORTED_BACKENDS.update(_factories)
    _factories.clear()


def _backend(own: type[Any], folder: Path | None) -> type[Any]:
    """Returns a subclass of the server's class that runs ours, or that class if none can be made."""
    try:
        module = sys.modules[own.__module__]
        ops = {op: _stand_in(op, getattr(module, function), folder) for op, function in _OWN.items()}
        untraced = {name: _untraced(getattr(OurCsgmv, name)) for name in UNTRACED}
    except Exception as error:  # the server dies of whatever leaves this function
        warn_once(f"the server's own kernels run: {one_line(error)}")
        return own
    members = {"own": own, "shrink": ops["csgmv_shrink"], "expand": ops["csgmv_expand"], "__module__": __name__}
    return type(f"LoraAutotune{own.__name__}", (OurCsgmv, own), {**members, **untraced})


def _untraced(method: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps ``torch.compile`` out of a method (``--enable-torch-compile``)."""
    found: Callable[..., Any] = torch.compiler.disable(method)  # type: ignore[no-untyped-call]
    return found


def _stand_in(op: str, own: Any, folder: Path | None) -> StandIn:
    """Returns what an op runs."""
    offer = offers.of(op)
    configs = KernelConfigs(
        folder, lambda there, gpu: partial(SGLANG.lookup, there, gpu, by_plug_in=True), offer.kernel, facts.REQUIRED
    )
    return StandIn(offer.drop_in.DROP_IN, own, configs)
