"""Fused MoE LoRA: tokens through the adapters of the experts they chose."""

from __future__ import annotations

from autotune.kernels.fused_moe_lora.alignment import align
from autotune.kernels.fused_moe_lora.expand import moe_expand
from autotune.kernels.fused_moe_lora.one_shot import moe_one_shot
from autotune.kernels.fused_moe_lora.shrink import moe_shrink

__all__ = ["align", "moe_expand", "moe_one_shot", "moe_shrink"]
