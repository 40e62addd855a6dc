"""Tells which adapters SGLang's loader takes, and what it wraps by the modules that they name (contracts B6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autotune.errors import one_of
from autotune.servers.sglang import facts


def problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Tells what the loader refuses of an adapter's config; each in a few words that name the field."""
    if missing := [name for name in facts.ADAPTER_REQUIRED if name not in config]:
        yield f"{one_of(missing)} missing, so that it is no LoRA adapter to SGLang"
    if (kind := config.get("peft_type")) is not None and str(kind).upper() != "LORA":
        yield f"peft_type is {kind}, and SGLang loads LORA alone"
    if config.get("use_dora"):
        yield "use_dora: SGLang does not support DoRA"
    targets = config.get("target_modules")
    if isinstance(targets, str):
        if targets not in facts.ALL_LINEAR:
            allowed = one_of(facts.ALL_LINEAR)
            yield f"target_modules is the pattern {targets!r}, and SGLang takes a list of names, {allowed}"
    elif isinstance(targets, list):
        if unknown := [name for name in map(last_part, targets) if name not in facts.WRAPPED_AS]:
            yield f"target_modules {one_of(unknown)}: get_hidden_dim not implemented (NotImplementedError)"
    elif "target_modules" in config:
        yield f"target_modules is {targets!r}, and SGLang takes a list of names"


def last_part(module: object) -> str:
    """Returns what of a module's name counts."""
    return str(module).rpartition(".")[2]
