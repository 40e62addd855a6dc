"""SGLang's csgmv LoRA kernels: names and layout of the config files, the server's lookup, its built-in defaults.

The module itself is an `autotune.servers.Server`. Ops are ``shrink`` and ``expand``; the dims of a call are ``K``
(shrink: columns of x; expand: output columns of all slices), ``R`` (rank of the pool), ``S`` (slices) and
``chunk_size``. A file belongs to one Triton version: the call's, or the installed one. Source: contracts B1,
that is SGLang 0.5.23, ``lora_tuning_config.py``.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.contract import Call, Config, Value
from autotune.environment import installed_version
from autotune.errors import InputError, one_of
from autotune.servers.files import KeyPath, Shards, Table, read_json
from autotune.servers.lookup import Failure, Lookup, Step
from autotune.servers.sglang import chunks
from autotune.servers.sglang.chunks import CHUNK_SIZES

name = "sglang"

ENVIRONMENT = "SGLANG_LORA_CONFIG_DIR"
ROOT = "csgmv_configs"
LEVELS = ("chunk_size",)
_SIZES = r"lora_(?P<op>shrink|expand),K=(?P<K>\d+),R=(?P<R>\d+),S=(?P<S>\d+),"
FILE = re.compile(_SIZES + r"device=(?P<device>(?!\S*_tuned_\d+\.json)\S+)\.json")
"""Names that a server reads; not those of files that an export writes beside one (``..._tuned_1.json``)."""

SPLIT_K_CHUNK = 16
"""A server that is told to may split K in some shrinks at this chunk size, with the default blocks (contracts B3)."""

LOSES_SPLIT_K = (
    "a bf16 server with SGLANG_ENABLE_LORA_CSGMV_SPLIT_K=1 loses its split-K path here: "
    "keep BLOCK_N 16 and BLOCK_K 256, or leave that flag off"
)
_DEFAULTS = {"shrink": {"BLOCK_N": 16, "BLOCK_K": 256}, "expand": {"BLOCK_N": 64, "BLOCK_K": 16}}
_REQUIRED = ("BLOCK_N", "BLOCK_K")
_OPTIONAL = {"shrink": ("num_warps", "num_stages"), "expand": ("num_warps", "num_stages", "maxnreg")}
_DIMS = ("K", "R", "S", "chunk_size")
_SPLIT_K_RANK, _SPLIT_K_COLUMNS = 32, (4096, 12288)


def levels(call: Call) -> tuple[str, ...]:
    """The one level of the call's file."""
    _check(call)
    return LEVELS


def default_config(call: Call) -> dict[str, Value]:
    """What the server launches with when no file says otherwise; warps and stages are left to Triton."""
    _check(call)
    return dict(_DEFAULTS[call.op])


def file_name(gpu_name: str, call: Call) -> str:
    """The file the server reads for this call on a GPU of this name, with the call's Triton version."""
    return f"{ROOT}/{_version_folder(call)}/{_base_name(gpu_name, call)}"


def key_path(call: Call) -> KeyPath:
    """Where the call's config stands in its file."""
    return tuple(str(call.dims[level]) for level in levels(call))


def alias_paths(call: Call) -> list[KeyPath]:
    """None: a chunk size has one name."""
    return []


def entry(config: Config, call: Call) -> dict[str, Value]:
    """The JSON value for a config: what is left to Triton is left out, and so is what the op does not read.

    Raises:
        InputError: If the config lacks a block size, or has a key that the server does not know.
    """
    _check(call)
    if missing := [key for key in _REQUIRED if config.get(key) is None]:
        raise InputError(f"sglang {call.op}: the config lacks {one_of(missing)}; needed: {one_of(_REQUIRED)}")
    known = (*_REQUIRED, *_OPTIONAL["expand"])
    if unknown := sorted(set(config) - set(known)):
        raise InputError(f"sglang {call.op}: the config has {one_of(unknown)}; allowed: {one_of(known)}")
    return {key: config[key] for key in _keys(call.op) if config.get(key) is not None}


def needed_paths(paths: Collection[KeyPath]) -> set[KeyPath]:
    """Every chunk size: one without an entry takes the nearest one's config, which was measured on other tiles."""
    return set(paths) | {(str(chunk),) for chunk in CHUNK_SIZES} if paths else set()


def partners(op: str) -> tuple[str, ...]:
    """No file of SGLang's depends on another."""
    return (op,)


def check_together(results: Mapping[str, Table], shards: Shards) -> None:
    """Nothing to check: see `partners`."""


def joint_fills(
    tables: Mapping[str, Table], shards: Shards, fills: Collection[tuple[str, KeyPath]]
) -> dict[str, Table]:
    """Nothing to fill: see `partners`."""
    return {}


def resolve(table: Any, call: Call) -> Lookup:
    """The server's lookup in a file's parsed content; its failures are part of the result."""
    _check(call)
    wanted = call.dims["chunk_size"]
    try:
        chunks = {int(key): value for key, value in table.items()}
        step = _step(chunks, wanted)
    except (AttributeError, TypeError, ValueError) as error:
        return Lookup("file", None, (), _file_failure(table, type(error).__name__))
    config = chunks[int(step.taken)]
    if failure := _config_failure(config):
        return Lookup("file", None, (step,), failure)
    return Lookup("file", {key: config[key] for key in _keys(call.op) if config.get(key) is not None}, (step,))


def lookup(folder: Path, gpu_name: str, call: Call) -> Lookup:
    """What a server with this config folder launches the call with; needs no GPU.

    Without a file for its own Triton version the server takes that of another, the last one by name.
    """
    path, others = _file_of(folder, gpu_name, call)
    if path is None:
        return Lookup("default", default_config(call), path=folder / file_name(gpu_name, call))
    notes = _order_warning(others)
    if others:
        version = path.parent.name
        notes = [f"{path.name}: none for {_version_folder(call)}, the server takes that of {version}", *notes]
    try:
        found = resolve(read_json(path), call)
    except InputError as error:
        cause = type(error.__cause__).__name__
        found = Lookup("file", None, (), Failure(cause, "file", None, str(error)))
    return replace(found, path=path, warnings=tuple(notes))


def lora_config(op: str, *, K: int, R: int, S: int, chunk_size: int) -> dict[str, Value]:
    """What a server in this process's environment launches a csgmv op with, right now, on this GPU.

    As in the server, what a file holds is cached, also that there is none: after a change call `cache_clear`. The
    configs that SGLang's own package brings are not looked at: they were measured on its kernels.

    Raises:
        InputError: Where the server would fail on the file; names the file and what is wrong.
    """
    call = Call(name, op, {"K": K, "R": R, "S": S, "chunk_size": chunk_size})
    if (current := _current_table(op, K, R, S)) is None:
        return default_config(call)
    path, table = current
    found = resolve(table, call)
    if found.config is None:
        problem = found.failure.message if found.failure else ""
        raise InputError(f"{path}: {problem}; or unset {ENVIRONMENT}")
    return found.config


def cache_clear() -> None:
    """Forget the files, as a new server process would."""
    _current_table.cache_clear()


def _config_failure(config: Any) -> Failure | None:
    """How the server fails with an entry like this, if it does; null is no size either."""
    if not isinstance(config, dict):
        return Failure("TypeError", "config", None, f"got {type(config).__name__}, allowed: an object of parameters")
    missing = [key for key in _REQUIRED if config.get(key) is None]
    if not missing:
        return None
    error = "TypeError" if missing[0] in config else "KeyError"
    return Failure(error, "config", missing[0], f"the config lacks {one_of(missing)}; tune the shape")


def versions(folder: Path, base_name: str) -> list[Path]:
    """The files of this name, whatever their Triton version, in the server's order: names descending as text."""
    files = (version / base_name for version in folder.glob(f"{ROOT}/triton_*"))
    return sorted((file for file in files if file.exists()), key=lambda file: file.parent.name, reverse=True)


def newest(files: Iterable[Path]) -> Path:
    """The one of the newest Triton, by its folder."""
    return max(files, key=lambda file: [int(number) for number in re.findall(r"\d+", file.parent.name)])


def may_split_k(call: Call) -> bool:
    """Whether a bf16 server splits K here, if it is told to and no config changes the blocks."""
    dims = (call.dims["R"], call.dims["chunk_size"])
    return call.op == "shrink" and dims == (_SPLIT_K_RANK, SPLIT_K_CHUNK) and call.dims["K"] in _SPLIT_K_COLUMNS


def loses_split_k(call: Call, config: Config) -> bool:
    """Whether a config that is launched for the call keeps a server from splitting K, see `may_split_k`."""
    return may_split_k(call) and any(config.get(name) != size for name, size in _DEFAULTS["shrink"].items())


def split_k_entry(table: Any, file: str) -> str | None:
    """The chunk size of the entry for which a server of this file, by name, loses its split-K path; None without."""
    if (match := re.match(_SIZES, Path(file).name)) is None:
        return None
    call = Call(name, match["op"], {**{dim: int(match[dim]) for dim in ("K", "R", "S")}, "chunk_size": SPLIT_K_CHUNK})
    found = resolve(table, call)
    return found.key_path[0] if found.config is not None and loses_split_k(call, found.config) else None


def thinnable_level(call: Call) -> str | None:
    """None: the few chunk sizes that a server launches with are all there."""
    return None


def warnings(directory: Path, tables: Mapping[str, Table], looked_up: Mapping[str, Collection[KeyPath]]) -> list[str]:
    """What may go wrong on a server that reads these files (by name) in this folder; one line each."""
    found = [
        f"{directory}: with {ENVIRONMENT} set to it, a server no longer sees the configs that SGLang brings (rank 64 "
        "on an H200): tune every shape it serves"
    ]
    for base_name in sorted({Path(file).name for file in tables}):
        found += _order_warning(versions(directory, base_name))
    for file, table in tables.items():
        if (key := split_k_entry({key: config for (key,), config in table.items()}, file)) is not None:
            found.append(f"{file}: at {key}: {LOSES_SPLIT_K}")
    return found


def advice(calls: Iterable[Call]) -> list[str]:
    """Which of the tuned chunk sizes a server reads, and what is worth more (contracts B2)."""
    return chunks.advice(call.dims["chunk_size"] for call in calls)


def _check(call: Call) -> None:
    if call.op not in _DEFAULTS:
        raise InputError(f"sglang: got op {call.op!r}, allowed: {one_of(_DEFAULTS)}")
    if missing := [dim for dim in _DIMS if dim not in call.dims]:
        raise InputError(f"sglang {call.op}: the call lacks {one_of(missing)}; needed: {one_of(_DIMS)}")


def _keys(op: str) -> tuple[str, ...]:
    return (*_REQUIRED, *_OPTIONAL[op])


def _base_name(gpu_name: str, call: Call) -> str:
    _check(call)
    sizes = ",".join(f"{dim}={call.dims[dim]}" for dim in ("K", "R", "S"))
    return f"lora_{call.op},{sizes},device={gpu_name.replace(' ', '_')}.json"


def _version_folder(call: Call) -> str:
    version = call.triton or installed_version("triton")
    if version is None:
        raise InputError("sglang: its files stand in a folder for one Triton version, and triton is not installed here")
    return f"triton_{version.replace('.', '_')}"


def _order_warning(files: list[Path]) -> list[str]:
    if not files or (last := newest(files)) == files[0]:
        return []
    return [
        f"{last.name}: servers with a Triton that has no folder here take {files[0].parent.name} before "
        f"{last.parent.name}, for SGLang compares the names as text; remove the older folder"
    ]


def _step(chunks: Mapping[int, Any], wanted: int) -> Step:
    if chunks.get(wanted) is not None:
        return Step("chunk_size", wanted, str(wanted), "exact")
    distance = {chunk: abs(chunk - wanted) for chunk in chunks}
    taken = min(chunks, key=distance.__getitem__)
    ties = tuple(str(chunk) for chunk in chunks if chunk != taken and distance[chunk] == distance[taken])
    return Step("chunk_size", wanted, str(taken), "nearest", ties)


def _file_failure(table: Any, error: str) -> Failure:
    if not isinstance(table, dict):
        return Failure(error, "chunk_size", None, f"got {type(table).__name__}, allowed: an object of chunk sizes")
    if not table:
        return Failure(error, "chunk_size", None, "got an empty object; remove the file or tune the shape")
    bad = next(key for key in table if not _is_int(key))
    return Failure(error, "chunk_size", bad, f"got key {bad!r}, allowed: chunk sizes as integers; remove it")


def _is_int(key: str) -> bool:
    try:
        int(key)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=128)
def _current_table(op: str, K: int, R: int, S: int) -> tuple[Path, Any] | None:
    """The file that the server reads and what it holds, for all chunk sizes; failures are not kept, nor are its own."""
    folder = os.environ.get(ENVIRONMENT)
    if folder is None:
        return None
    call = Call(name, op, {"K": K, "R": R, "S": S, "chunk_size": CHUNK_SIZES[0]})
    path, _ = _file_of(Path(folder), _device_name(), call)
    return None if path is None else (path, read_json(path))


def _file_of(folder: Path, gpu_name: str, call: Call) -> tuple[Path | None, list[Path]]:
    """The file that the server reads, if any, and where it is another Triton's all that it chose among."""
    path = folder / file_name(gpu_name, call)
    if path.exists():
        return path, []
    others = versions(folder, path.name)
    return (others[0] if others else None), others


def _device_name() -> str:
    import torch  # here, because defaults and lookups in files must work without torch

    if not torch.cuda.is_available():
        raise InputError(f"{ENVIRONMENT} is set, but there is no CUDA GPU to name its files; unset it for the defaults")
    return torch.cuda.get_device_name(0)
