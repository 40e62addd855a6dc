"""LoRA of experts in one launch, on rows that the server has aligned: what our plug-in launches for vLLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.kernels.common.offer import offer

if TYPE_CHECKING:
    from autotune.kernels.aligned_moe_lora.launcher import aligned_moe_lora

__all__ = ["aligned_moe_lora"]

__getattr__ = offer(__name__, {"aligned_moe_lora": "launcher"})
