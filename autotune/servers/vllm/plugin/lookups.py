"""Looks up in the plug-in's folder by vLLM's rule (contracts A1), with each file read once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from autotune.contract import Call
from autotune.errors import InputError
from autotune.servers.files import read_json
from autotune.servers.lookup import Failure, Lookup, is_integer
from autotune.servers.vllm import dense, facts
from autotune.servers.vllm.server import VLLM

_M: Final = facts.DENSE_LEVELS.index("m")


class FolderLookup:
    """What vLLM's rule comes to for the calls of one GPU in a folder."""

    def __init__(self, folder: Path, gpu_name: str) -> None:
        self._folder = folder
        self._gpu = gpu_name
        self._tables: dict[Path, Any] = {}

    def __call__(self, call: Call) -> Lookup:
        """Looks a call up; what is wrong is part of the result."""
        path = self._folder / VLLM.file_name(self._gpu, call)
        try:
            found = replace(VLLM.resolve(self._table(path), call), path=path)
        except (InputError, OSError) as error:
            return Lookup("file", None, (), Failure(type(error).__name__, "file", None, str(error)), path)
        return replace(found, config=dense.launched(found.config)) if found.config else found

    def token_counts(self, call: Call) -> list[int]:
        """Lists the token counts with entries of their own where a call is looked up, and the last that is nearer to
        one than to the next: up to there batches are launched with its config. None if the call does not get there."""
        found = self(call)
        if len(found.key_path) < _M:
            return []
        node: Any = self._tables.get(found.path) if found.path else None
        for key in found.key_path[:_M]:
            node = node[key]
        if not isinstance(node, Mapping):
            return []
        counts = sorted(int(key) for key in node if is_integer(key))
        return [*counts, *((below + above - 1) // 2 for below, above in itertools.pairwise(counts))]

    def _table(self, path: Path) -> Any:
        if path not in self._tables:
            self._tables[path] = read_json(path) if path.exists() else None
        return self._tables[path]
