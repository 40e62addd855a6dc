"""Fused MoE LoRA: tokens through the adapters of the experts they chose.

What the package offers is loaded when it is asked for, so that `group` can be read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.kernels.fused_moe_lora.alignment import align
    from autotune.kernels.fused_moe_lora.expand import moe_expand
    from autotune.kernels.fused_moe_lora.one_shot import moe_one_shot
    from autotune.kernels.fused_moe_lora.shrink import moe_shrink

__all__ = ["align", "moe_expand", "moe_one_shot", "moe_shrink"]

_MODULES = {"align": "alignment", "moe_expand": "expand", "moe_one_shot": "one_shot", "moe_shrink": "shrink"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
