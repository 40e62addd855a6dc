"""Knows vLLM's four fused MoE LoRA ops: their files, defaults and entries.

The dims of a call are ``max_loras`` (L itself, not L + 1 as for the dense ops), ``num_slices`` (w13: 2, or 1 for
3D-fused experts and those without a gate; w2: 1), ``m`` (tokens, not times top_k), ``k`` (the rank), ``n`` (the hidden
size) and ``i`` (the intermediate size of a TP shard), alike for shrink and expand. With fully sharded LoRA over t GPUs
w13's k is the rank divided by t, and w2's the whole rank: which entries of w13 and w2 a server uses together is then
not to be seen in the files (contracts A1, A7).

What no file can change: a server without ``VLLM_TUNED_CONFIG_FOLDER`` does not use the defaults below but the base
model's MoE tiles; merely setting the variable, for dense files say, fixes block_m at 64 (contracts A2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.contract import Config, Value
from autotune.errors import InputError, one_of
from autotune.servers.files import Table
from autotune.servers.lookup import Failure
from autotune.servers.vllm import facts


def default_config(op: str, dims: Mapping[str, int]) -> dict[str, Value]:
    """Returns what a server with a config folder launches with if the folder has no file of the op (contracts A2)."""
    rank = _next_pow2(dims["k"])
    if op.endswith("_shrink"):
        tiles = {"block_n": min(64, rank), "block_k": 32}
    else:
        tiles = {"block_n": 64, "block_k": max(16, min(32, rank))}
    return _complete({**facts.MOE_FALLBACK, **tiles})


def file_name(gpu: str, op: str) -> str:
    """Names the file of an op; whether expand adds to its output is not in the name."""
    return f"{gpu}_{op.upper()}.json"


def op_of_file(file: str) -> str | None:
    """Returns the op whose file has this name, None for any other file."""
    return next((op for op in facts.MOE_OPS if file.endswith(file_name("", op))), None)


def halves(op: str) -> tuple[str, str]:
    """Names shrink and expand of the same matrix (w13 or w2): what a one-shot kernel does in one."""
    matrix = op.removesuffix("_shrink").removesuffix("_expand")
    return f"{matrix}_shrink", f"{matrix}_expand"


def entry(config: Config, op: str) -> dict[str, Value]:
    """Returns the JSON value for a config. Every key is written: what is missing the server replaces without a word.

    Raises:
        InputError: If the config lacks a key that is live, or has one that the server does not know.
    """
    fixed: dict[str, Value] = {"split_k": 1} if op.endswith("_expand") else {}
    given = {"group_size_m": facts.GROUP_SIZE, **config, **fixed}
    if missing := [key for key in facts.MOE_FALLBACK if key not in given]:
        raise InputError(f"vllm {op}: the config lacks {one_of(missing)}; needed: {one_of(facts.ENTRY_KEYS)}")
    if unknown := sorted(set(given) - set(facts.ENTRY_KEYS)):
        raise InputError(f"vllm {op}: the config has {one_of(unknown)}; allowed: {one_of(facts.ENTRY_KEYS)}")
    return _complete(given)


def launched(node: Any, op: str) -> tuple[dict[str, Value] | None, Failure | None, tuple[str, ...]]:
    """Returns what the server makes of an entry: the config with our spelling of its names, the failure, and warnings.

    Names without any capital are put into capitals (``block_m`` is read as ``BLOCK_SIZE_M``), others are left as they
    are; what the kernels then do not find under their own names falls back silently (contracts A3).
    """
    if node is None:
        return None, Failure("AssertionError", "config", None, "got null for the config; tune the shape"), ()
    if not isinstance(node, dict):
        message = f"got {type(node).__name__}, allowed: an object of parameters"
        return None, Failure("AttributeError", "config", None, message), ()
    read = {_normal(name): value for name, value in node.items()}
    found = {name: read.get(capitals, facts.MOE_FALLBACK[name]) for name, capitals in facts.MOE_READ_AS.items()}
    missing = [name for name, capitals in facts.MOE_READ_AS.items() if capitals not in read]
    if op.endswith("_expand"):
        found["split_k"] = 1
        missing = [name for name in missing if name != "split_k"]
    taken = ", ".join(f"{name} {facts.MOE_FALLBACK[name]}" for name in missing)
    warnings = (f"the config lacks {one_of(missing)}; the server silently takes {taken}",) if missing else ()
    return _complete(found), None, warnings


def level_failure(failure: Failure) -> Failure:
    """Tells the descent's failure better if an entry stands where the intermediate size is looked up."""
    if failure.level == "i" and failure.key is not None and _normal(failure.key) in facts.MOE_READ_AS.values():
        message = "MoE level i missing: the config stands where intermediate sizes are looked up; tune the shape"
        return Failure(failure.error, "i", failure.key, message)
    return failure


def entry_warnings(file: str, table: Table, op: str) -> list[str]:
    """Tells what entries that stood in a file before make a server do without a word; one line each."""
    return [
        f"{file}: the entry {'/'.join(path)} was there before: {warning}"
        for path, config in table.items()
        for warning in launched(config, op)[2]
    ]


def _normal(name: str) -> str:
    if not name.islower():
        return name
    return f"BLOCK_SIZE_{name.rpartition('_')[2].upper()}" if name.startswith("block_") else name.upper()


def _complete(config: Config) -> dict[str, Value]:
    complete = {**config, "num_ctas": 1, "max_nreg": None}
    return {key: complete[key] for key in facts.ENTRY_KEYS}


def _next_pow2(n: int) -> int:
    return 1 << (n - 1).bit_length()
