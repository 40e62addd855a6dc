"""Tells what SGLang refuses of quantised weights where LoRA is on (contracts B11)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from autotune.errors import InputError, one_of
from autotune.model.shape import ModelShape
from autotune.model.weights_format import weights_format
from autotune.servers.serving import Serving
from autotune.servers.sglang import facts
from autotune.servers.sglang.serving import named

METHODS: Final = frozenset(
    """
    auto-round auto-round-int8 awq awq_marlin bitsandbytes blockwise_int8 compressed-tensors fp8 gguf gptq
    gptq_marlin humming minimax_m3_nvfp4 modelopt modelopt_fp4 modelopt_fp8 modelopt_mixed modelslim moe_wna16
    mxfp4 mxfp8 mxfp_w4a8 nvfp4_online petit_nvfp4 quark quark_int4fp8_moe quark_mxfp4 w4afp8 w8a8_fp8 w8a8_int8
    """.split()
)
"""The formats that it has."""

WITHOUT_LORA_ON_EXPERTS: Final = frozenset(
    """
    auto-round awq awq_marlin bitsandbytes gguf gptq gptq_marlin humming mxfp4 quark quark_int4fp8_moe
    quark_mxfp4 w4afp8
    """.split()
)
"""Those whose experts tell the LoRA layer nothing of their weights."""


def check(model: ModelShape, serving: Serving) -> None:
    """Makes sure that the server has the format of a model's weights, and takes LoRA on its experts where it is named.

    Raises:
        InputError: If it stops at start.
    """
    found = weights_format(model.config, model.origin)
    if found is not None and found.method not in METHODS:
        raise InputError(
            f"{model.origin}: quant_method: got {found.method}, allowed: {one_of(sorted(METHODS))} (SGLang: Unknown "
            f"quantization method: {found.method}); give a model of another format"
        )
    targets = set(named(serving))
    wraps_experts = targets >= set(facts.MLP) or bool(targets & set(facts.ALL_LINEAR))
    if wraps_experts and (method := _without_lora(model)):
        raise InputError(
            f"--target-modules: {one_of(facts.MLP)}: SGLang has no LoRA on experts of {method} weights, and stops (its "
            "method must implement get_triton_quant_info); name the projections of attention alone"
        )


def notes(model: ModelShape, serving: Serving) -> Iterator[str]:
    """Tells where naming the experts would stop the server."""
    if serving.target_modules is None and (method := _without_lora(model)):
        yield (
            f"SGLang has no LoRA on experts of {method} weights: it stops where {one_of(facts.MLP)} are both named; "
            "name the projections of attention alone"
        )


def _without_lora(model: ModelShape) -> str | None:
    found = weights_format(model.config, model.origin)
    if found is None or model.experts is None:
        return None
    return found.method if found.method in WITHOUT_LORA_ON_EXPERTS else None
