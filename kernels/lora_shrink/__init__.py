"""LoRA shrink: tokens through their adapters' A matrices, hidden size to rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.kernels.common.offer import offer

if TYPE_CHECKING:
    from autotune.kernels.lora_shrink.launcher import lora_shrink

__all__ = ["lora_shrink"]

__getattr__ = offer(__name__, {"lora_shrink": "launcher"})
