"""Writes SGLang's files into a folder, looks them up, and makes results to export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune.contract import Call, Config
from autotune.export.file import ExportItem
from autotune.servers import Lookup
from autotune.servers.sglang.server import SGLANG

GPU = "NVIDIA H20-3e"
TUNED = {"BLOCK_N": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 2}
OTHER = {"BLOCK_N": 32, "BLOCK_K": 128}


def call(op: str = "shrink", chunk_size: int = 16, triton: str | None = "3.6.0", K: int = 1024, S: int = 3) -> Call:
    return Call("sglang", op, {"K": K, "R": 64, "S": S, "chunk_size": chunk_size}, triton)


def write(folder: Path, content: Any, wanted: Call | None = None) -> Path:
    path = folder / SGLANG.file_name(GPU, wanted or call())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def lookup(folder: Path, wanted: Call | None = None) -> Lookup:
    return SGLANG.lookup(folder, GPU, wanted or call())


def item(config: Config, chunk_size: int, op: str = "shrink", incumbent: bool = False) -> ExportItem:
    return ExportItem(f"{op}-{chunk_size}", call(op, chunk_size), config, incumbent, GPU, {"backend": "replay"})
