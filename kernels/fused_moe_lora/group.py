"""The six kernels as a group: tokens are aligned to blocks once for all ops of a layer, so these share their block_m.

On which path a server runs them is its own choice (contracts A6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.contract.groups import GroupKind
from autotune.servers.vllm import facts
from autotune.servers.vllm.moe_paths import server_path


def _served_path(values: Mapping[str, Any]) -> facts.ServerPath:
    if values.get("lora_rank") is None:
        # The kernel says what is missing.
        return facts.TWO_KERNEL
    return server_path(int(values["lora_rank"]), bool(values.get("fully_sharded")))


FUSED_MOE_LORA = GroupKind(
    name=facts.MOE_GROUP,
    server=facts.NAME,
    shared="block_m",
    members={
        facts.TWO_KERNEL: (
            "fused_moe_lora_gate_up_shrink",
            "fused_moe_lora_gate_up_expand",
            "fused_moe_lora_down_shrink",
            "fused_moe_lora_down_expand",
        ),
        facts.ONE_SHOT: ("fused_moe_lora_gate_up_one_shot", "fused_moe_lora_down_one_shot"),
    },
    served_path=_served_path,
)

GROUPS = [FUSED_MOE_LORA]
