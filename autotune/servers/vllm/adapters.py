"""Tells which adapters vLLM's loader takes (contracts A9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autotune.errors import one_of
from autotune.servers.vllm import facts


def problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Tells what the loader refuses of an adapter's config; each in a few words that name the field."""
    if missing := [name for name in facts.ADAPTER_REQUIRED if name not in config]:
        yield f"{one_of(missing)} missing, so that it is no LoRA adapter to vLLM"
    if null := [name for name in facts.ADAPTER_NUMBERS if name in config and config[name] is None]:
        yield f"{one_of(null)} null, which the loader cannot compute with; give the number of its training"
    if (kind := config.get("peft_type")) is not None and str(kind).upper() != "LORA":
        yield f"peft_type is {kind}, and vLLM loads LORA alone"
    saved = config.get("modules_to_save") or ()
    if refused := [str(name) for name in saved if name not in facts.SAVED_MODULES]:
        yield f"modules_to_save {one_of(refused)} is unsupported, allowed: {one_of(facts.SAVED_MODULES)}"
    for name, what in facts.REFUSED_FEATURES.items():
        if config.get(name):
            yield f"{name}: vLLM does not support {what}"
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in facts.PLAIN_INITS:
        yield f"init_lora_weights {init} is unsupported, since it changes the base model's weights; convert the adapter"
    if (bias := config.get("bias", "none")) != "none":
        yield f"bias {bias}: vLLM does not support biases of adapters"
