"""LoRA expand: the shrunk tokens through their adapters' B matrices, rank to output width."""

from __future__ import annotations

from autotune.kernels.lora_expand.launcher import lora_expand

__all__ = ["lora_expand"]
