"""Imports the modules of vLLM's LoRA ops when they are first called, and says which releases are known."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from autotune.contract.source import OWN_ASKED_FOR
from autotune.errors import InputError
from autotune.servers.source_check import ServedModules
from autotune.servers.vllm import facts
from autotune.servers.vllm.served_releases import DENSE_SOURCES, MOE_SOURCES

OPS_PACKAGE: Final = "vllm.lora.ops.triton_ops"
"""The package of the ops' modules (contracts A12)."""

DENSE: Final = ServedModules(
    package=facts.NAME,
    compiler="torch",
    names=[
        [
            f"{OPS_PACKAGE}.{name}"
            for name in ("lora_shrink_op", "lora_expand_op", "kernel_utils", "utils", "lora_kernel_metadata")
        ]
    ],
    known=DENSE_SOURCES,
    environment={"VLLM_LOGGING_LEVEL": "ERROR"},
)
"""What the dense ops are made of (contracts A12)."""

MOE: Final = ServedModules(
    package=facts.NAME,
    compiler="torch",
    names=[
        [
            *(f"{OPS_PACKAGE}.{name}" for name in ("fused_moe_lora_op", "utils", "lora_kernel_metadata")),
            "vllm.lora.punica_wrapper.punica_gpu",
        ]
    ],
    known=MOE_SOURCES,
)
"""What fused MoE LoRA is made of, and what aligns for it and calls it (contracts A13)."""

MODULES: Final[Mapping[str, ServedModules]] = {
    **{f"lora_{part}": DENSE for part in ("shrink", "expand")},
    **{
        f"fused_moe_lora_{side}_{part}": MOE
        for side in ("gate_up", "down")
        for part in ("one_shot", "shrink", "expand")
    },
}
"""What the server's own kernels are made of, by the names of the built-in kernels of the same ops."""


@cache
def imported(name: str) -> Any:
    """Imports one of the ops' modules.

    Raises:
        InputError: If the package cannot be imported, or has turned Triton off.
    """
    module = DENSE.load(f"{OPS_PACKAGE}.{name}")
    triton_on = getattr(DENSE.load("vllm.triton_utils"), "HAS_TRITON", True)
    if not triton_on:
        raise InputError(
            f"{OWN_ASKED_FOR}: vllm has turned Triton off, as it found no GPU driver; run where the server runs"
        )
    return module
