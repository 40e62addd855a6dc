"""Finds the configs that SGLang's package brings: what a server launches with while no folder is set (contracts B1)."""

from __future__ import annotations

from pathlib import Path

from autotune.contract import Call, Value
from autotune.errors import InputError
from autotune.servers.files import read_json
from autotune.servers.sglang import csgmv, facts
from autotune.servers.sglang.served_modules import CSGMV, LOOKUP
from autotune.servers.sglang.versions import file_of


def folder() -> Path | None:
    """Returns the folder that an installed server looks in while none is set; None where no server is installed."""
    try:
        files = CSGMV.files()
    except InputError:
        return None
    return next((file.parent for name, file in files.items() if name.endswith(f".{LOOKUP}")), None)


def packaged_config(call: Call, gpu_name: str) -> dict[str, Value] | None:
    """Returns what the package's own file has for a call; None where it has no file, or no server is installed."""
    if (there := folder()) is None:
        return None
    path, _ = file_of(there, gpu_name, call)
    return dict(csgmv.resolve(read_json(path), call).config or {}) or None if path else None


def hidden(directory: Path, gpu_name: str) -> list[str]:
    """Lists the package's files for a GPU, by name, that a server no longer sees once a config folder is set and that
    the folder has no file for."""
    if (there := folder()) is None:
        return []
    ending = f",device={facts.gpu_in_file(gpu_name)}.json"
    brought = {file.name for file in there.glob(f"{facts.ROOT}/triton_*/*.json") if file.name.endswith(ending)}
    return sorted(brought - {file.name for file in directory.glob(f"{facts.ROOT}/triton_*/*.json")})
