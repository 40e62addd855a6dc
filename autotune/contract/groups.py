"""Kernels that a server runs with one common value of a parameter, and that are therefore tuned as a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.errors import InputError, one_of
from autotune.servers.vllm import moe_paths

TWO_KERNEL = "two-kernel"
ONE_SHOT = "one-shot"


@dataclass(frozen=True)
class GroupKind:
    """A kind of group.

    Attributes:
        name: What ``--op-type`` takes for the whole group.
        server: Whose kernels they are.
        shared: The parameter that must be equal in all members.
        members: The kernels, by the path on which a server runs them.
    """

    name: str
    server: str
    shared: str
    members: Mapping[str, tuple[str, ...]]


FUSED_MOE_LORA = GroupKind(
    "fused_moe_lora",
    "vllm",
    "block_m",
    {
        TWO_KERNEL: (
            "fused_moe_lora_gate_up_shrink",
            "fused_moe_lora_gate_up_expand",
            "fused_moe_lora_down_shrink",
            "fused_moe_lora_down_expand",
        ),
        ONE_SHOT: ("fused_moe_lora_gate_up_one_shot", "fused_moe_lora_down_one_shot"),
    },
)
"""The alignment of tokens to blocks is computed once for all ops, so they share its block_m (contracts A6)."""

PATHS = ("auto", TWO_KERNEL, ONE_SHOT)


def find(op_type: str) -> GroupKind | None:
    """Returns the kind of group that an ``--op-type`` names, None for a kernel."""
    return FUSED_MOE_LORA if op_type == FUSED_MOE_LORA.name else None


def kind_of(kernel: str) -> tuple[GroupKind, str]:
    """Returns the kind of group that a kernel is of, and its path.

    Raises:
        InputError: If it is of none.
    """
    for path, members in FUSED_MOE_LORA.members.items():
        if kernel in members:
            return FUSED_MOE_LORA, path
    allowed = one_of(name for members in FUSED_MOE_LORA.members.values() for name in members)
    raise InputError(f"group: got kernel {kernel!r}, allowed: {allowed}")


def concerns(kernel: str) -> bool:
    """Tells whether a kernel is of a group, or names one."""
    return any(kernel in (FUSED_MOE_LORA.name, *members) for members in FUSED_MOE_LORA.members.values())


def path_for(wanted: str, values: Mapping[str, Any]) -> str:
    """Returns the path to tune: the one asked for, or with ``auto`` the one that a server takes for these flag
    values."""
    if wanted != "auto":
        return wanted
    if values.get("lora_rank") is None:
        # The kernel says what is missing.
        return TWO_KERNEL
    return moe_paths.server_path(int(values["lora_rank"]), bool(values.get("fully_sharded")))
