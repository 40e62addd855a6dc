"""LoRA of one linear layer: shrink and expand in one launch, for few tokens."""

from __future__ import annotations

from autotune.kernels.lora_linear.operation import lora_linear

__all__ = ["lora_linear"]
