"""Finds shrinks in which an SGLang server that is told to splits K, unless a config changes the blocks (contracts
B3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.contract import Call, Config
from autotune.servers.sglang import csgmv, facts

LOSES_SPLIT_K = (
    f"a bf16 server with {facts.SPLIT_K_SWITCH}=1 loses its split-K path here: "
    "keep BLOCK_N 16 and BLOCK_K 256, or leave that flag off"
)


def may_split_k(call: Call) -> bool:
    """Tells whether a bf16 server splits K here, if it is told to and no config changes the blocks."""
    dims = (call.dims["R"], call.dims["chunk_size"])
    shrunk = call.op == "shrink" and dims == (facts.SPLIT_K_RANK, facts.SPLIT_K_CHUNK)
    return shrunk and call.dims["K"] in facts.SPLIT_K_COLUMNS


def loses_split_k(call: Call, config: Config) -> bool:
    """Tells whether a config that is launched for the call keeps a server from splitting K, see `may_split_k`."""
    return may_split_k(call) and any(config.get(name) != size for name, size in facts.DEFAULTS["shrink"].items())


def split_k_entry(table: Any, file: str) -> str | None:
    """Finds the chunk size of the entry for which a server of this file, by name, loses its split-K path."""
    if (match := facts.SIZES_IN_FILE.match(Path(file).name)) is None:
        return None
    sizes = {dim: int(match[dim]) for dim in facts.FILE_DIMS}
    call = Call(facts.NAME, match["op"], {**sizes, "chunk_size": facts.SPLIT_K_CHUNK})
    found = csgmv.resolve(table, call)
    return found.key_path[0] if found.config is not None and loses_split_k(call, found.config) else None
