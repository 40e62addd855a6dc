"""Names the layers of a decoder that take LoRA, and the modules that adapters and servers know them by."""

from __future__ import annotations

from collections.abc import Mapping

MODULES: Mapping[str, tuple[str, ...]] = {
    "qkv_proj": ("qkv_proj", "q_proj", "k_proj", "v_proj"),
    "o_proj": ("o_proj",),
    "fused_qkv_a_proj_with_mqa": ("fused_qkv_a_proj_with_mqa", "q_a_proj", "kv_a_proj_with_mqa"),
    "q_b_proj": ("q_b_proj",),
    "kv_b_proj": ("kv_b_proj",),
    "gate_up_proj": ("gate_up_proj", "gate_proj", "up_proj"),
    "down_proj": ("down_proj",),
    "gate": ("gate", "router"),
    "experts": ("experts",),
    "embed_tokens": ("embed_tokens",),
    "lm_head": ("lm_head",),
}
"""For each layer the modules that it is, or that are merged into it."""

MODULE_NAMES = tuple(name for names in MODULES.values() for name in names)


ALL_LINEAR = "all-linear"
ALL_MODULES = ("all", ALL_LINEAR)
"""What adapters and servers have in place of a list of names."""


def modules_of(layer: str) -> tuple[str, ...]:
    """Returns the modules that name a layer; experts are named by any of their projections too."""
    if layer == "experts":
        return (*MODULES["experts"], *MODULES["gate_up_proj"], *MODULES["down_proj"])
    return MODULES[layer]
