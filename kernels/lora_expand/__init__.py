"""LoRA expand: the shrunk tokens through their adapters' B matrices, rank to output width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.kernels.common.offer import offer

if TYPE_CHECKING:
    from autotune.kernels.lora_expand.launcher import lora_expand

__all__ = ["lora_expand"]

__getattr__ = offer(__name__, {"lora_expand": "launcher"})
