"""The section on fused MoE LoRA in docs/results.md: groups of ops that share one block_m.

`make_results.py` calls it with the data that docs/run_moe.sh left in docs/data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("group", "ops", "block_m", "default us", "tuned us", "speed-up", "of floor", "tuning took")

NOTE = (
    "Times are sums over the ops of a group, from the race of the exported set against vLLM's defaults for a "
    "server with a config folder (block_m 64), our kernels. `of floor` is the least time to move the bytes of the "
    "experts that are hit, over the tuned time. A server of rank 128 or less, not fully sharded, runs the "
    "one-shot kernels and reads only block_m."
)


def rows(members: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """One row a group; `members` holds one study of each."""
    return [_row(member["group_result"]) for member in members]


def _row(group: Mapping[str, Any]) -> list[str]:
    default_us, tuned_us = group["incumbent_us"], group["tuned_us"]
    floor_us = sum(each["floor_us"] for each in group["members"].values())
    return [
        group["group"].removeprefix("fused_moe_lora-").removesuffix("-NVIDIA_H200"),
        str(len(group["members"])),
        str(group["shared"]["block_m"]) + (" (default)" if group["outcome"] == "default" else ""),
        f"{default_us:.1f}",
        f"{tuned_us:.1f}",
        f"{default_us / tuned_us:.2f}x",
        f"{floor_us / tuned_us:.0%}",
        f"{group['seconds']['wall']:.0f} s",
    ]
