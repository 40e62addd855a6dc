"""vLLM's LoRA ops: names and layout of the config files, the server's lookup, its built-in defaults.

The module itself is an `autotune.servers.Server`. Dense ops are spelled as vLLM spells them, ``shrink`` and
``expand``; the dims of a call are ``max_loras`` (L + 1, what the dense ops compare), ``num_slices``, ``m``, ``k``,
``n``, and for expand ``add_inputs`` (0 or 1). The four ops of fused MoE LoRA are in `autotune.servers.vllm.moe`.
Source: contracts A1 to A3 and A8, that is vLLM 0.33.0, ``vllm/lora/ops/triton_ops/``.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.contract import Call, Config, Value
from autotune.errors import InputError, one_of
from autotune.servers.files import KeyPath, Shards, Table, read_json
from autotune.servers.lookup import Failure, Lookup
from autotune.servers.vllm import moe
from autotune.servers.vllm.descent import descend

name = "vllm"

FILE = re.compile(
    r"(?P<gpu>.+?)_(?P<op>SHRINK|EXPAND_TRUE|EXPAND_FALSE|FUSED_MOE_LORA_(?:W13|W2)_(?:SHRINK|EXPAND))\.json"
)
"""Names of the files that servers read, fused MoE LoRA's too."""

LEVELS = ("max_loras", "num_slices", "m", "k", "n")

_USUAL_SLICES = frozenset({1, 2, 3})

# What the ops read with `config[key]`, in this order: the first one absent is the server's KeyError.
REQUIRED = {
    "shrink": ("block_m", "block_n", "block_k", "split_k", "num_warps", "num_stages", "num_ctas"),
    "expand": ("block_m", "block_n", "block_k", "num_warps", "num_ctas", "num_stages"),
}


def levels(call: Call) -> tuple[str, ...]:
    """The levels of the call's file, outermost first; every name is also one of the call's dims."""
    _check(call)
    return moe.LEVELS if call.op in moe.OPS else LEVELS


def default_config(call: Call) -> dict[str, Value]:
    """What the server launches with when no file says otherwise (contracts A2), with all nine keys."""
    _check(call)
    if call.op in moe.OPS:
        return moe.default_config(call.op, call.dims)
    if call.op == "shrink":
        block_k, split_k = (256, 64) if call.dims["m"] < 128 else (32, 8)
        return _nine_keys(block_m=32, block_n=16, block_k=block_k, split_k=split_k, num_warps=4, num_stages=2)
    block_n = 64 if call.dims["num_slices"] > 1 else 128
    return _nine_keys(block_m=64, block_n=block_n, block_k=32, split_k=1, num_warps=4, num_stages=2)


def file_name(gpu_name: str, call: Call) -> str:
    """The file the server reads for this call on a GPU of this name."""
    _check(call)
    gpu = gpu_name.replace(" ", "_").replace("-", "_")
    if call.op in moe.OPS:
        return moe.file_name(gpu, call.op)
    if call.op == "shrink":
        return f"{gpu}_SHRINK.json"
    return f"{gpu}_EXPAND_{str(bool(call.dims['add_inputs'])).upper()}.json"


def key_path(call: Call) -> KeyPath:
    """Where the call's config stands in its file, outermost key first."""
    return tuple(str(call.dims[level]) for level in levels(call))


def alias_paths(call: Call) -> list[KeyPath]:
    """Further places for the call's config: documented is the key L, but the dense ops look up L + 1."""
    if call.op in moe.OPS:
        return []
    _, *rest = key_path(call)
    documented = call.dims["max_loras"] - 1
    return [(str(documented), *rest)] if documented > 0 else []


def entry(config: Config, call: Call) -> dict[str, Value]:
    """The JSON value for a config: all nine keys.

    Raises:
        InputError: If the config lacks a key that the op needs, or has one that the server does not know.
    """
    _check(call)
    if call.op in moe.OPS:
        return moe.entry(config, call.op)
    # The server never passes max_nreg to a kernel, nor split_k to expand: any other value would be untrue.
    fixed: dict[str, Value] = {"max_nreg": None} | ({"split_k": 1} if call.op == "expand" else {})
    complete = {"num_ctas": 1, "group_size_m": 8, **config, **fixed}
    if missing := [key for key in moe.KEYS if key not in complete]:
        raise InputError(f"vllm {call.op}: the config lacks {one_of(missing)}; needed: {one_of(moe.KEYS)}")
    if unknown := sorted(set(complete) - set(moe.KEYS)):
        raise InputError(f"vllm {call.op}: the config has {one_of(unknown)}; allowed: {one_of(moe.KEYS)}")
    return {key: complete[key] for key in moe.KEYS}


def needed_paths(paths: Collection[KeyPath]) -> set[KeyPath]:
    """All places to fill, given those a file fills, so that no lookup takes another shape's config.

    The server picks m first and then k and n inside it, by least distance: an m without a (k, n) that other m have
    answers that shape with a neighbour's config. So each m of a (max_loras, num_slices) needs each (k, n) of it.
    And a max_loras without a num_slices that another has would kill a server that so far took that other one.
    """
    by_group: dict[KeyPath, tuple[set[str], set[KeyPath]]] = {}
    by_slices: dict[str, tuple[set[str], set[KeyPath]]] = {}
    for path in paths:
        for ms, shapes in (
            by_group.setdefault(path[:2], (set(), set())),
            by_slices.setdefault(path[1], (set(), set())),
        ):
            ms.add(path[2])
            shapes.add(path[3:])
    needed = set()
    for group in itertools.product({path[0] for path in paths}, by_slices):
        ms, shapes = by_group.get(group, by_slices[group[1]])
        needed |= {(*group, m, *shape) for m, shape in itertools.product(ms, shapes)}
    return needed


def partners(op: str) -> tuple[str, ...]:
    """The ops whose files are only correct together with this op's, itself included: all four of fused MoE LoRA."""
    return moe.OPS if op in moe.OPS else (op,)


def check_together(results: Mapping[str, Table], shards: Shards) -> None:
    """Make sure that results of partners, by op, make sense together.

    Raises:
        InputError: Naming what is missing or differs.
    """
    moe.check_results(results, shards)


def joint_fills(
    tables: Mapping[str, Table], shards: Shards, fills: Collection[tuple[str, KeyPath]]
) -> dict[str, Table]:
    """Entries that the files of partners, by op, lack to fit together.

    Raises:
        InputError: If what they hold contradicts itself.
    """
    return moe.joint_fills(tables, shards, fills)


def resolve(table: Any, call: Call) -> Lookup:
    """The server's lookup in a file's parsed content, step by step; its failures are part of the result."""
    _check(call)
    if not table:
        return Lookup("default", default_config(call))
    node, steps, failure = descend(table, levels(call), call.dims)
    if call.op in moe.OPS:
        if failure:
            return Lookup("file", None, steps, moe.level_failure(failure))
        config, failure, found = moe.launched(node, call.op)
        return Lookup("file", config, steps, failure, warnings=found)
    failure = failure or _config_failure(node, call)
    return Lookup("file", None if failure else dict(node), steps, failure)


def lookup(folder: Path, gpu_name: str, call: Call) -> Lookup:
    """What a server with this config folder on a GPU of this name launches the call with; needs no GPU."""
    path = folder / file_name(gpu_name, call)
    try:
        table = read_json(path) if path.exists() else None
    except InputError as error:
        cause = type(error.__cause__).__name__
        return Lookup("file", None, (), Failure(cause, "file", None, str(error)), path)
    return replace(resolve(table, call), path=path)


def dense_config(
    op: str, *, max_loras: int, num_slices: int, m: int, k: int, n: int, add_inputs: bool | None = None
) -> dict[str, Value]:
    """What a server in this process's environment launches a dense op with, right now, on this GPU.

    As in the server, files and results are cached: after a change of a file or of the environment call `cache_clear`.

    Raises:
        InputError: Where the server would die of the file; names the file and the key.
    """
    dims = {"max_loras": max_loras, "num_slices": num_slices, "m": m, "k": k, "n": n}
    if add_inputs is not None:
        dims["add_inputs"] = int(add_inputs)
    return dict(_current_config(op, tuple(dims.items())))


def moe_config(op: str, *, max_loras: int, num_slices: int, m: int, k: int, n: int, i: int) -> dict[str, Value]:
    """As `dense_config`, for one of the ops of fused MoE LoRA: with the names and values that the server launches."""
    dims = {"max_loras": max_loras, "num_slices": num_slices, "m": m, "k": k, "n": n, "i": i}
    return dict(_current_config(op, tuple(dims.items())))


def cache_clear() -> None:
    """Forget files and results, as a new server process would."""
    _current_config.cache_clear()
    _current_table.cache_clear()


def thinnable_level(call: Call) -> str | None:
    """The m of a dense op. Those of fused MoE LoRA stay: its four files need one set of m, with one block_m each."""
    return None if call.op in moe.OPS else "m"


def warnings(directory: Path, tables: Mapping[str, Table], looked_up: Mapping[str, Collection[KeyPath]]) -> list[str]:
    """What may go wrong on a server that reads these files (by name) in this folder; one line each.

    Args:
        looked_up: By file, all that the server looks up in it, where that is known: else it is guessed.
    """
    found = []
    for file, table in tables.items():
        if op := moe.op_of_file(file):
            found += moe.entry_warnings(file, table, op)
        else:
            needed = {int(path[1]) for path in looked_up.get(file, ())} or _USUAL_SLICES
            found += _slices_warnings(file, table, needed) + _entry_warnings(file, table)
    return found + _moe_warnings(directory, tables)


def advice(calls: Iterable[Call]) -> list[str]:
    """None: a server of vLLM's looks every launch up."""
    return []


def _check(call: Call) -> None:
    if call.op in moe.OPS:
        needed: tuple[str, ...] = moe.LEVELS
    elif call.op in REQUIRED:
        needed = LEVELS + (("add_inputs",) if call.op == "expand" else ())
    else:
        raise InputError(f"vllm: got op {call.op!r}, allowed: {one_of([*REQUIRED, *moe.OPS])}")
    if missing := [dim for dim in needed if dim not in call.dims]:
        raise InputError(f"vllm {call.op}: the call lacks {one_of(missing)}; needed: {one_of(needed)}")


def _nine_keys(**config: Value) -> dict[str, Value]:
    complete: dict[str, Value] = {"num_ctas": 1, "max_nreg": None, "group_size_m": 8, **config}
    return {key: complete[key] for key in moe.KEYS}


def _config_failure(node: Any, call: Call) -> Failure | None:
    if node is None:
        return Failure("AssertionError", "config", None, "got null for the config; tune the shape")
    if not isinstance(node, dict):
        return Failure("TypeError", "config", None, f"got {type(node).__name__}, allowed: an object of parameters")
    missing = [key for key in REQUIRED[call.op] if key not in node]
    if not missing:
        return None
    deeper = ", and seems to hold a level more" if any(key.isdecimal() for key in node) else ""
    message = f"the config lacks {one_of(missing)}{deeper}; tune the shape"
    return Failure("KeyError", "config", missing[0], message)


def _slices_warnings(file: str, table: Table, needed: Collection[int]) -> list[str]:
    have = {int(path[1]) for path in table}
    if have >= set(needed):
        return []
    return [
        f"{file}: holds num_slices {one_of(sorted(have))} only; a server whose model has layers of another "
        "(qkv 3, gate_up 2, others 1) stops with KeyError at start: tune those shapes too"
    ]


def _moe_warnings(directory: Path, tables: Mapping[str, Table]) -> list[str]:
    """The files of fused MoE LoRA that are not there (contracts A2, A6), where the folder seems to need them."""
    there = {op for path in directory.glob("*.json") if (op := moe.op_of_file(path.name))}
    if there:
        if missing := [op.upper() for op in moe.OPS if op not in there]:
            return [
                f"{directory}: lacks {one_of(missing)} beside others of the four; a server may compute wrong "
                "results: tune fused_moe_lora, or remove the others"
            ]
        return []
    slices = {int(path[1]) for file, table in tables.items() if not moe.op_of_file(file) for path in table}
    if 3 not in slices or 2 in slices:
        return []
    return [
        f"{directory}: has qkv but no gate_up; if the model is an MoE, a server with this folder runs its LoRA with a "
        "fixed block_m of 64 instead of the base model's: tune fused_moe_lora, too"
    ]


def _entry_warnings(file: str, table: Table) -> list[str]:
    needed = REQUIRED["shrink" if "_SHRINK" in file else "expand"]
    return [
        f"{file}: the entry {'/'.join(path)} was there before and lacks {one_of(missing)}; a server that looks it up "
        "stops with KeyError: add the key, or tune that shape"
        for path, config in table.items()
        if (missing := [key for key in needed if key not in config])
    ]


@functools.lru_cache(maxsize=1024)
def _current_config(op: str, dims: tuple[tuple[str, int], ...]) -> dict[str, Value]:
    call = Call(name, op, dict(dims))
    folder = os.environ.get("VLLM_TUNED_CONFIG_FOLDER")
    if not folder or os.environ.get("VLLM_BATCH_INVARIANT", "0") not in ("", "0"):
        return default_config(call)
    path = Path(folder) / file_name(_device_name(), call)
    found = resolve(_current_table(path), call)
    if found.config is None:
        at = "/".join(found.key_path)
        problem = found.failure.message if found.failure else ""
        raise InputError(f"{path}: at {at or 'the top'}: {problem}; or unset VLLM_TUNED_CONFIG_FOLDER")
    return found.config


@functools.lru_cache
def _current_table(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def _device_name() -> str:
    import torch  # here, because defaults and lookups in files must work without torch

    if not torch.cuda.is_available():
        raise InputError(
            "VLLM_TUNED_CONFIG_FOLDER is set, but there is no CUDA GPU to name its files; unset it for the defaults"
        )
    return torch.cuda.get_device_name()
