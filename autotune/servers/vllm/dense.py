"""Knows vLLM's dense LoRA ops, ``shrink`` and ``expand``: their files, defaults and entries.

The dims of a call are ``max_loras`` (L + 1, what the dense ops compare), ``num_slices``, ``m``, ``k``, ``n``, and for
expand ``add_inputs`` (0 or 1). Source: contracts A1 to A3.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any

from autotune.contract import Call, Config, Value
from autotune.errors import InputError, one_of
from autotune.servers.files import KeyPath, Table
from autotune.servers.lookup import Failure
from autotune.servers.vllm import facts


def default_config(call: Call) -> dict[str, Value]:
    """Returns what the server launches with when no file says otherwise (contracts A2), with all nine keys."""
    if call.op == "shrink":
        block_k, split_k = (256, 64) if call.dims["m"] < 128 else (32, 8)
        return _nine_keys(block_m=32, block_n=16, block_k=block_k, split_k=split_k, num_warps=4, num_stages=2)
    block_n = 64 if call.dims["num_slices"] > 1 else 128
    return _nine_keys(block_m=64, block_n=block_n, block_k=32, split_k=1, num_warps=4, num_stages=2)


def batch_invariant_config(call: Call) -> dict[str, Value]:
    """Returns what the lookup of a batch-invariant server finds, which reads no file (contracts A2)."""
    found = default_config(call)
    return {**found, "split_k": facts.BATCH_INVARIANT_SPLIT_K} if call.op == "shrink" else found


def file_name(gpu: str, call: Call) -> str:
    """Names the file of the call's op, for a GPU as file names spell it."""
    if call.op == "shrink":
        return f"{gpu}_SHRINK.json"
    return f"{gpu}_EXPAND_{str(bool(call.dims['add_inputs'])).upper()}.json"


def op_of_file(file: str) -> str:
    """Returns the op whose file has this name."""
    return "shrink" if "_SHRINK" in file else "expand"


def alias_paths(key: KeyPath) -> list[KeyPath]:
    """Lists further places for the config at a key: documented is the key L, but the dense ops look up L + 1."""
    max_loras, *rest = key
    documented = int(max_loras) - 1
    return [(str(documented), *rest)] if documented > 0 else []


def entry(config: Config, op: str) -> dict[str, Value]:
    """Returns the JSON value for a config: all nine keys.

    Raises:
        InputError: If the config lacks a key that the op needs, or has one that the server does not know.
    """
    # The server never passes max_nreg to a kernel, nor split_k to expand: any other value would be untrue.
    fixed: dict[str, Value] = {"max_nreg": None} | ({"split_k": 1} if op == "expand" else {})
    complete = {"num_ctas": 1, "group_size_m": facts.GROUP_SIZE, **config, **fixed}
    if missing := [key for key in facts.ENTRY_KEYS if key not in complete]:
        raise InputError(f"vllm {op}: the config lacks {one_of(missing)}; needed: {one_of(facts.ENTRY_KEYS)}")
    if unknown := sorted(set(complete) - set(facts.ENTRY_KEYS)):
        raise InputError(f"vllm {op}: the config has {one_of(unknown)}; allowed: {one_of(facts.ENTRY_KEYS)}")
    return {key: complete[key] for key in facts.ENTRY_KEYS}


def needed_paths(paths: Collection[KeyPath]) -> set[KeyPath]:
    """Finds all places to fill, given those that a file fills, so that no lookup takes another shape's config.

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


def left_to_triton(config: Config) -> list[str]:
    """Lists the parameters that an entry has as null and that Triton then chooses (contracts A3)."""
    return [name for name in facts.TRITON_OWN if name in config and config[name] is None]


def launched(config: Config) -> dict[str, Value]:
    """Returns what the server launches by an entry."""
    return {**config, **{name: facts.TRITON_OWN[name] for name in left_to_triton(config)}}


def config_failure(node: Any, op: str) -> Failure | None:
    """Tells how the server fails with an entry like this, if it does."""
    if node is None:
        return Failure("AssertionError", "config", None, "got null for the config; tune the shape")
    if not isinstance(node, dict):
        return Failure("TypeError", "config", None, f"got {type(node).__name__}, allowed: an object of parameters")
    missing = [key for key in facts.DENSE_REQUIRED[op] if key not in node]
    if not missing:
        return None
    deeper = ", and seems to hold a level more" if any(key.isdecimal() for key in node) else ""
    message = f"the config lacks {one_of(missing)}{deeper}; tune the shape"
    return Failure("KeyError", "config", missing[0], message)


def entry_warnings(file: str, table: Table) -> list[str]:
    """Tells which entries of a file a server dies of; one line each."""
    needed = facts.DENSE_REQUIRED[op_of_file(file)]
    return [
        f"{file}: the entry {'/'.join(path)} was there before and lacks {one_of(missing)}; a server that looks it up "
        "stops with KeyError: add the key, or tune that shape"
        for path, config in table.items()
        if (missing := [key for key in needed if key not in config])
    ]


def _nine_keys(**config: Value) -> dict[str, Value]:
    complete: dict[str, Value] = {"num_ctas": 1, "max_nreg": None, "group_size_m": facts.GROUP_SIZE, **config}
    return {key: complete[key] for key in facts.ENTRY_KEYS}
