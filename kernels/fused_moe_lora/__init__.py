"""Fused MoE LoRA: tokens through the adapters of the experts they chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.kernels.common.offer import offer

if TYPE_CHECKING:
    from autotune.kernels.fused_moe_lora.alignment import align
    from autotune.kernels.fused_moe_lora.expand import moe_expand
    from autotune.kernels.fused_moe_lora.one_shot import moe_one_shot
    from autotune.kernels.fused_moe_lora.shrink import moe_shrink

__all__ = ["align", "moe_expand", "moe_one_shot", "moe_shrink"]

__getattr__ = offer(
    __name__, {"align": "alignment", "moe_expand": "expand", "moe_one_shot": "one_shot", "moe_shrink": "shrink"}
)
