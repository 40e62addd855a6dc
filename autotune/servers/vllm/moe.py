"""vLLM's four fused MoE LoRA ops: their files, defaults and entries, and what keeps the four files from contradicting.

Used by `servers.vllm.dense`, which is the server. The dims of a call are ``max_loras`` (L itself, not L + 1 as for
the dense ops), ``num_slices`` (w13: 2, or 1 for 3D-fused experts and those without a gate; w2: 1), ``m`` (tokens, not
times top_k), ``k`` (the rank), ``n`` (the hidden size) and ``i`` (the intermediate size of a TP shard), alike for
shrink and expand. With fully sharded LoRA over t GPUs w13's k is the rank divided by t, and w2's the whole rank: which
entries of w13 and w2 a server uses together is then not to be seen in the files. Source: contracts A1 to A3, A6
to A8, that is vLLM 0.33.0.

What no file can change: a server without ``VLLM_TUNED_CONFIG_FOLDER`` does not use the defaults below but the base
model's MoE tiles; merely setting the variable, for dense files say, fixes block_m at 64.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any, Literal

from autotune.contract import Config, Value
from autotune.errors import InputError, one_of
from autotune.servers.files import KeyPath, Shards, Table
from autotune.servers.lookup import Failure

LEVELS = ("max_loras", "num_slices", "m", "k", "n", "i")
OPS = (
    "fused_moe_lora_w13_shrink",
    "fused_moe_lora_w13_expand",
    "fused_moe_lora_w2_shrink",
    "fused_moe_lora_w2_expand",
)

ServerPath = Literal["one-shot", "two-kernel"]
ONE_SHOT_RANKS = 128
"""Up to this rank, unless fully sharded, shrink and expand run as one kernel, which reads block_m and nothing else."""

KEYS = (
    "block_m",
    "block_n",
    "block_k",
    "split_k",
    "num_warps",
    "num_ctas",
    "num_stages",
    "max_nreg",
    "group_size_m",
)
"""What an entry of any of vLLM's LoRA files has, in this order; the dense ops require most of them."""

_SMALL_BATCH_RANKS = 64
_SMALL_BATCH_SIZE = 1024

_READ_AS = {
    "block_m": "BLOCK_SIZE_M",
    "block_n": "BLOCK_SIZE_N",
    "block_k": "BLOCK_SIZE_K",
    "group_size_m": "GROUP_SIZE_M",
    "num_warps": "NUM_WARPS",
    "num_stages": "NUM_STAGES",
    "split_k": "SPLIT_K",
}
_FALLBACK: Mapping[str, Value] = {
    "block_m": 64,
    "block_n": 64,
    "block_k": 32,
    "group_size_m": 8,
    "num_warps": 4,
    "num_stages": 3,
    "split_k": 1,
}


def server_path(rank: int, fully_sharded: bool) -> ServerPath:
    """Which kernels vLLM 0.33 runs (contracts A6), but for small batches."""
    return "one-shot" if rank <= ONE_SHOT_RANKS and not fully_sharded else "two-kernel"


def small_batch(rank: int, pairs: int, naive: bool) -> bool:
    """Whether it runs its small-batch kernel, which reads no config at all (contracts A6).

    Args:
        pairs: Tokens times top_k.
        naive: The pairs are so few that they are not sorted; never if fully sharded.
    """
    return naive and rank <= _SMALL_BATCH_RANKS and pairs * rank <= _SMALL_BATCH_SIZE


def default_config(op: str, dims: Mapping[str, int]) -> dict[str, Value]:
    """What a server with a config folder launches with where the folder has no file of the op (contracts A2)."""
    rank = _next_pow2(dims["k"])
    if op.endswith("_shrink"):
        tiles = {"block_n": min(64, rank), "block_k": 32}
    else:
        tiles = {"block_n": 64, "block_k": max(16, min(32, rank))}
    return _complete({**_FALLBACK, **tiles})


def file_name(gpu: str, op: str) -> str:
    """The file of an op; whether expand adds to its output is not in the name."""
    return f"{gpu}_{op.upper()}.json"


def op_of_file(file: str) -> str | None:
    """The op whose file has this name, None for any other file."""
    return next((op for op in OPS if file.endswith(file_name("", op))), None)


def halves(op: str) -> tuple[str, str]:
    """Shrink and expand of the same matrix (w13 or w2): what a one-shot kernel does in one."""
    matrix = op.removesuffix("_shrink").removesuffix("_expand")
    return f"{matrix}_shrink", f"{matrix}_expand"


def entry(config: Config, op: str) -> dict[str, Value]:
    """The JSON value for a config. Every key is written: what is missing the server replaces without a word.

    Raises:
        InputError: If the config lacks a key that is live, or has one that the server does not know.
    """
    fixed: dict[str, Value] = {"split_k": 1} if op.endswith("_expand") else {}
    given = {"group_size_m": 8, **config, **fixed}
    if missing := [key for key in _FALLBACK if key not in given]:
        raise InputError(f"vllm {op}: the config lacks {one_of(missing)}; needed: {one_of(KEYS)}")
    if unknown := sorted(set(given) - set(KEYS)):
        raise InputError(f"vllm {op}: the config has {one_of(unknown)}; allowed: {one_of(KEYS)}")
    return _complete(given)


def launched(node: Any, op: str) -> tuple[dict[str, Value] | None, Failure | None, tuple[str, ...]]:
    """What the server makes of an entry: the config with our spelling of its names, the failure, and warnings.

    Names without any capital are put into capitals (``block_m`` is read as ``BLOCK_SIZE_M``), others are left as they
    are; what the kernels then do not find under their own names falls back silently (contracts A3).
    """
    if node is None:
        return None, Failure("AssertionError", "config", None, "got null for the config; tune the shape"), ()
    if not isinstance(node, dict):
        message = f"got {type(node).__name__}, allowed: an object of parameters"
        return None, Failure("AttributeError", "config", None, message), ()
    read = {_normal(name): value for name, value in node.items()}
    found = {name: read.get(capitals, _FALLBACK[name]) for name, capitals in _READ_AS.items()}
    missing = [name for name, capitals in _READ_AS.items() if capitals not in read]
    if op.endswith("_expand"):
        found["split_k"] = 1
        missing = [name for name in missing if name != "split_k"]
    taken = ", ".join(f"{name} {_FALLBACK[name]}" for name in missing)
    warnings = (f"the config lacks {one_of(missing)}; the server silently takes {taken}",) if missing else ()
    return _complete(found), None, warnings


def level_failure(failure: Failure) -> Failure:
    """The descent's failure, told better where an entry stands where the intermediate size is looked up."""
    if failure.level == "i" and failure.key is not None and _normal(failure.key) in _READ_AS.values():
        message = "MoE level i missing: the config stands where intermediate sizes are looked up; tune the shape"
        return Failure(failure.error, "i", failure.key, message)
    return failure


def check_results(results: Mapping[str, Table], shards: Shards) -> None:
    """Make sure that results are there for all four ops, for the same places, with one block_m at each.

    The alignment of tokens to blocks is computed once, with the block_m of w13 shrink, and reused by the others: a
    server does not notice another block_m in w2, it computes wrong results (contracts A6).

    Args:
        shards: For results of fully sharded LoRA over several GPUs, how many.

    Raises:
        InputError: Naming what is missing or differs.
    """
    if missing := [op for op in OPS if op not in results]:
        there = one_of(results)
        raise InputError(
            f"fused_moe_lora: got results of {there} but none of {one_of(missing)}; the four files are only correct "
            "together: make and run the group with --op-type fused_moe_lora, then export all of it"
        )
    places = {
        op: {_of_server(op, key, count) for key in table for count in shards.get((op, key), (1,))}
        for op, table in results.items()
    }
    everywhere = set[KeyPath]().union(*places.values())
    for op in OPS:
        if lacking := sorted(everywhere - places[op], key=_as_ints):
            raise InputError(
                f"fused_moe_lora: {op} has no result for {_text(lacking[0])}, which another of the four has; "
                "the four need the same m: run and export the whole group"
            )
    _block_m(results, _joined(shards))


def joint_fills(
    tables: Mapping[str, Table], shards: Shards, fills: Collection[tuple[str, KeyPath]]
) -> dict[str, Table]:
    """Entries that the four files lack to be one: the same places in all, each with one block_m.

    Ranks that fully sharded servers join, the one of w13 and the one of w2, have one block_m in all four files: so no
    server, sharded or not, gets two.

    Args:
        tables: The content of each op's file, new results and what stood there.
        shards: For results of fully sharded LoRA over several GPUs, how many.
        fills: What came from here before, by op: entries that decide nothing and follow the others.

    Raises:
        InputError: If what stood there contradicts itself or the results.
    """
    joined = _joined(shards)
    decided = {op: {key: each for key, each in table.items() if (op, key) not in fills} for op, table in tables.items()}
    block_m = _block_m(decided, joined)
    loras = {key[0] for table in tables.values() for key in table}
    grid = set[KeyPath]()
    for lora in loras:
        here = [key for table in tables.values() for key in table if key[0] == lora]
        shapes = {key[3:] for key in here} | {shape[1:] for shape in joined if shape[0] == lora}
        grid |= {(lora, m, *shape) for m, shape in itertools.product({key[2] for key in here}, shapes)}
    found: dict[str, Table] = {}
    for op, table in tables.items():
        slices = {key[1] for key in table}
        wanted = [(place[0], s, *place[1:]) for s, place in itertools.product(slices, grid)]
        found[op] = {
            key: config
            for key in wanted
            if (key not in table or (op, key) in fills)
            and (config := _fill(op, key, block_m.get(_place(key, joined)))) != table.get(key)
        }
    return found


def entry_warnings(file: str, table: Table, op: str) -> list[str]:
    """What entries that stood in a file before make a server do without a word; one line each."""
    return [
        f"{file}: the entry {'/'.join(path)} was there before: {warning}"
        for path, config in table.items()
        for warning in launched(config, op)[2]
    ]


def _fill(op: str, key: KeyPath, block_m: Value) -> dict[str, Any]:
    dims = dict(zip(LEVELS, map(int, key), strict=True))
    return default_config(op, dims) | ({} if block_m is None else {"block_m": block_m})


def _block_m(tables: Mapping[str, Table], joined: Mapping[KeyPath, str]) -> dict[KeyPath, Value]:
    """The block_m of each place, over all files.

    Raises:
        InputError: If two entries of a place differ in it.
    """
    found: dict[KeyPath, tuple[Value, str]] = {}
    for op in OPS:
        for key, config in tables[op].items():
            block_m = (launched(config, op)[0] or {}).get("block_m")
            first, where = found.setdefault(place := _place(key, joined), (block_m, op))
            if first != block_m:
                raise InputError(
                    f"fused_moe_lora: at {_text(place)}: block_m is {first} in {where} but {block_m} in {op}; a "
                    "server would compute wrong results: export the whole group, and drop entries that contradict it "
                    "(--on-exist overwrite), or take a folder of its own"
                )
    return {place: block_m for place, (block_m, _) in found.items()}


def _place(key: KeyPath, joined: Mapping[KeyPath, str]) -> KeyPath:
    """A key path without num_slices, in which w13 and w2 differ, and with all ranks that are joined to its own."""
    loras, _, m, *shape = key
    return (loras, m, joined.get((loras, *shape), shape[0]), *shape[1:])


def _of_server(op: str, key: KeyPath, shards: int) -> KeyPath:
    """A key path without num_slices, and with the rank that the server was started with."""
    loras, _, m, k, *rest = key
    return (loras, m, str(int(k) * shards) if "_w13_" in op else k, *rest)


def _joined(shards: Shards) -> dict[KeyPath, str]:
    """For (max_loras, k, n, i) with a k that a server joins with another one: all that are joined to it, as text."""
    classes: list[set[KeyPath]] = []
    for op, key, count in ((*place, count) for place, counts in shards.items() for count in counts if count > 1):
        loras, _, k, *rest = _of_server(op, key, count)
        pair = {(loras, str(int(k) // count), *rest), (loras, k, *rest)}
        touched = [each for each in classes if each & pair]
        classes = [each for each in classes if each not in touched] + [pair.union(*touched)]
    return {shape: "+".join(sorted((s[1] for s in each), key=int)) for each in classes for shape in each}


def _text(place: KeyPath) -> str:
    names = [level for level in LEVELS if level != "num_slices"]
    return ", ".join(f"{name} {key}" for name, key in zip(names, place, strict=True))


def _as_ints(place: KeyPath) -> list[int]:
    return [int(key) for key in place]


def _normal(name: str) -> str:
    if not name.islower():
        return name
    return f"BLOCK_SIZE_{name.rpartition('_')[2].upper()}" if name.startswith("block_") else name.upper()


def _complete(config: Config) -> dict[str, Value]:
    complete = {**config, "num_ctas": 1, "max_nreg": None}
    return {key: complete[key] for key in KEYS}


def _next_pow2(n: int) -> int:
    return 1 << (n - 1).bit_length()
