"""Tells what an SGLang server in this process's environment launches with, right now, on this GPU."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from autotune.contract import Call, Value
from autotune.errors import InputError
from autotune.servers.device_name import device_name
from autotune.servers.files import read_json
from autotune.servers.sglang import csgmv, facts
from autotune.servers.sglang.versions import file_of


def lora_config(op: str, *, K: int, R: int, S: int, chunk_size: int) -> dict[str, Value]:
    """Returns what a csgmv op is launched with.

    As in the server, what a file holds is cached, also that there is none: after a change call `cache_clear`. The
    configs that SGLang's own package brings are not looked at: they were measured on its kernels.

    Raises:
        InputError: Where the server would fail on the file; names the file and what is wrong.
    """
    call = Call(facts.NAME, op, {"K": K, "R": R, "S": S, "chunk_size": chunk_size})
    if (current := _current_table(op, K, R, S)) is None:
        return csgmv.default_config(call)
    path, table = current
    found = csgmv.resolve(table, call)
    if found.config is None:
        problem = found.failure.message if found.failure else ""
        raise InputError(f"{path}: {problem}; or unset {facts.CONFIG_FOLDER}")
    return found.config


def cache_clear() -> None:
    """Forgets the files, as a new server process would."""
    _current_table.cache_clear()


@functools.lru_cache(maxsize=128)
def _current_table(op: str, K: int, R: int, S: int) -> tuple[Path, Any] | None:
    """Returns the file that the server reads and what it holds, for all chunk sizes; failures are not kept, nor are
    its own."""
    folder = os.environ.get(facts.CONFIG_FOLDER)
    if folder is None:
        return None
    call = Call(facts.NAME, op, {"K": K, "R": R, "S": S, "chunk_size": facts.CHUNK_SIZES[0]})
    path, _ = file_of(Path(folder), device_name(facts.CONFIG_FOLDER, 0), call)
    return None if path is None else (path, read_json(path))
