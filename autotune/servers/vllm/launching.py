"""Tells what a vLLM server in this process's environment launches with, right now, on this GPU.

As in the server, files and results are cached: after a change of a file or of the environment call `cache_clear`.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from autotune.contract import Call, Value
from autotune.errors import InputError
from autotune.servers.device_name import device_name
from autotune.servers.files import read_json
from autotune.servers.vllm import dense, facts
from autotune.servers.vllm.server import VLLM


def dense_config(
    op: str, *, max_loras: int, num_slices: int, m: int, k: int, n: int, add_inputs: bool | None = None
) -> dict[str, Value]:
    """Returns what a dense op is launched with.

    Raises:
        InputError: Where the server would die of the file; names the file and the key.
    """
    dims = {"max_loras": max_loras, "num_slices": num_slices, "m": m, "k": k, "n": n}
    if add_inputs is not None:
        dims["add_inputs"] = int(add_inputs)
    return dict(_current_config(op, tuple(dims.items())))


def moe_config(op: str, *, max_loras: int, num_slices: int, m: int, k: int, n: int, i: int) -> dict[str, Value]:
    """Does the same as `dense_config` for one of the ops of fused MoE LoRA: with the names and values that the server
    launches."""
    dims = {"max_loras": max_loras, "num_slices": num_slices, "m": m, "k": k, "n": n, "i": i}
    return dict(_current_config(op, tuple(dims.items())))


def cache_clear() -> None:
    """Forgets files and results, as a new server process would."""
    _current_config.cache_clear()
    _current_table.cache_clear()


@functools.lru_cache(maxsize=1024)
def _current_config(op: str, dims: tuple[tuple[str, int], ...]) -> dict[str, Value]:
    call = Call(facts.NAME, op, dict(dims))
    folder = os.environ.get(facts.CONFIG_FOLDER)
    if os.environ.get(facts.BATCH_INVARIANT, "0") not in ("", "0"):
        return VLLM.default_config(call) if op in facts.MOE_OPS else dense.batch_invariant_config(call)
    if not folder:
        return VLLM.default_config(call)
    path = Path(folder) / VLLM.file_name(device_name(facts.CONFIG_FOLDER), call)
    found = VLLM.resolve(_current_table(path), call)
    if found.config is None:
        at = "/".join(found.key_path)
        problem = found.failure.message if found.failure else ""
        raise InputError(f"{path}: at {at or 'the top'}: {problem}; or unset {facts.CONFIG_FOLDER}")
    return found.config


@functools.lru_cache
def _current_table(path: Path) -> Any:
    return read_json(path) if path.exists() else None
