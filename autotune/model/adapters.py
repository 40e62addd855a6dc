"""What adapters say about the server they need: the rank of its pool, and the modules they have weights for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from autotune.errors import InputError, one_of
from autotune.model.checkpoint import infer_sizes
from autotune.servers.serving import MODULE_NAMES
from autotune.servers.vllm.facts import RANKS as VLLM_RANKS


def pool_rank(paths: Sequence[Path], server: str) -> int:
    """The rank a server needs for these adapters: the largest, for vLLM rounded up to one that it takes.

    Raises:
        InputError: If an adapter has no rank, or one beyond what the server takes.
    """
    largest = max(infer_sizes(None, path)["lora_rank"] for path in paths)
    if server != "vllm":
        return largest
    if largest > VLLM_RANKS[-1]:
        raise InputError(f"--lora-path: got an adapter of rank {largest}, allowed: up to {VLLM_RANKS[-1]}")
    return next(rank for rank in VLLM_RANKS if rank >= largest)


def target_modules(paths: Sequence[Path]) -> tuple[str, ...] | None:
    """The modules that the adapters have weights for, together; None where their configs do not list them.

    SGLang wraps just these (contracts B4).
    """
    found: set[str] = set()
    for path in paths:
        file = path / "adapter_config.json"
        listed = json.loads(file.read_text()).get("target_modules") if file.is_file() else None
        if not isinstance(listed, list):
            return None
        found |= {str(name).rpartition(".")[2] for name in listed}
    if unknown := sorted(found - set(MODULE_NAMES)):
        raise InputError(
            f"--lora-path: the adapters target {one_of(unknown)}, known here: {one_of(MODULE_NAMES)}; give "
            "--target-modules"
        )
    return tuple(name for name in MODULE_NAMES if name in found)
