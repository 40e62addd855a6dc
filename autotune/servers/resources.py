"""Finds entries that need more than the GPU has which their file is for (contracts A8)."""

from __future__ import annotations

from autotune.contract import Call, Config, gpu_names, registry


def too_large(call: Call, config: Config, gpu_name: str) -> str | None:
    """Tells why a server surely cannot launch a call with this config, or None: by the kernel that makes the call.

    Args:
        config: Complete, of values that can be launched.
        gpu_name: As the file's name spells it; of an unknown one the most is taken that any has.
    """
    kernel = registry.load(registry.of_server(call.op, call.server))
    why = kernel.cannot_run(call, config, gpu_names.shared_bytes(gpu_name))
    return f"{why} on {gpu_name}: OutOfResources; take smaller blocks or fewer stages" if why else None
