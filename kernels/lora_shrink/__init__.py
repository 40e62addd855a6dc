"""LoRA shrink: tokens through their adapters' A matrices, hidden size to rank."""

from __future__ import annotations

from autotune.kernels.lora_shrink.launcher import lora_shrink

__all__ = ["lora_shrink"]
