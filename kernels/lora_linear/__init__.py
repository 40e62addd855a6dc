"""LoRA of one linear layer: shrink and expand as a pair, for few tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.kernels.common.offer import offer

if TYPE_CHECKING:
    from autotune.kernels.lora_linear.operation import lora_linear

__all__ = ["lora_linear"]

__getattr__ = offer(__name__, {"lora_linear": "operation"})
