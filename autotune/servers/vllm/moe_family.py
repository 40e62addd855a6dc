"""Keeps vLLM's four files of fused MoE LoRA from contradicting each other.

The alignment of tokens to blocks is computed once, with the block_m of w13 shrink, and reused by the others: a server
does not notice another block_m in w2, it computes wrong results (contracts A6).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.contract import Value
from autotune.errors import InputError, one_of
from autotune.servers.files import KeyPath, Shards, Table
from autotune.servers.vllm import facts, moe


@dataclass(frozen=True)
class MoeFamily:
    """The four files: the same places in all, each with one block_m."""

    ops: tuple[str, ...] = facts.MOE_OPS
    why_together: str = (
        "all ops of fused MoE LoRA must have one block_m; tune them together: study create --op-type fused_moe_lora "
        "... --tag NAME, then study run"
    )

    def check(self, results: Mapping[str, Table], shards: Shards) -> None:
        """Makes sure that results are there for all four ops, for the same places, with one block_m at each.

        Args:
            shards: For results of fully sharded LoRA over several GPUs, how many.

        Raises:
            InputError: Naming what is missing or differs.
        """
        if missing := [op for op in self.ops if op not in results]:
            there = one_of(results)
            raise InputError(
                f"fused_moe_lora: got results of {there} but none of {one_of(missing)}; the four files are only "
                "correct together: make and run the group with --op-type fused_moe_lora, then export all of it"
            )
        places = {
            op: {_of_server(op, key, count) for key in table for count in shards.get((op, key), (1,))}
            for op, table in results.items()
        }
        everywhere = set[KeyPath]().union(*places.values())
        for op in self.ops:
            if lacking := sorted(everywhere - places[op], key=_as_ints):
                raise InputError(
                    f"fused_moe_lora: {op} has no result for {_text(lacking[0])}, which another of the four has; "
                    "the four need the same m: run and export the whole group"
                )
        _block_m(results, _joined(shards))

    def joint_fills(
        self, tables: Mapping[str, Table], shards: Shards, fills: Collection[tuple[str, KeyPath]]
    ) -> dict[str, Table]:
        """Finds the entries that the four files lack to be one: the same places in all, each with one block_m.

        Ranks that fully sharded servers join, the one of w13 and the one of w2, have one block_m in all four files: so
        no server, sharded or not, gets two.

        Args:
            tables: The content of each op's file, new results and what stood there.
            shards: For results of fully sharded LoRA over several GPUs, how many.
            fills: What came from here before, by op: entries that decide nothing and follow the others.

        Raises:
            InputError: If what stood there contradicts itself or the results.
        """
        joined = _joined(shards)
        decided = {
            op: {key: each for key, each in table.items() if (op, key) not in fills} for op, table in tables.items()
        }
        block_m = _block_m(decided, joined)
        grid = _grid([key for table in tables.values() for key in table], joined)
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


MOE_FAMILY = MoeFamily()


def _grid(keys: Collection[KeyPath], joined: Mapping[KeyPath, str]) -> set[KeyPath]:
    """Returns the places that all files need, without num_slices: of each max_loras, every m with every shape."""
    grid = set[KeyPath]()
    for lora in {key[0] for key in keys}:
        here = [key for key in keys if key[0] == lora]
        shapes = {key[3:] for key in here} | {shape[1:] for shape in joined if shape[0] == lora}
        grid |= {(lora, m, *shape) for m, shape in itertools.product({key[2] for key in here}, shapes)}
    return grid


def _fill(op: str, key: KeyPath, block_m: Value) -> dict[str, Any]:
    dims = dict(zip(facts.MOE_LEVELS, map(int, key), strict=True))
    return moe.default_config(op, dims) | ({} if block_m is None else {"block_m": block_m})


def _block_m(tables: Mapping[str, Table], joined: Mapping[KeyPath, str]) -> dict[KeyPath, Value]:
    """Returns the block_m of each place, over all files.

    Raises:
        InputError: If two entries of a place differ in it.
    """
    found: dict[KeyPath, tuple[Value, str]] = {}
    for op in facts.MOE_OPS:
        for key, config in tables[op].items():
            block_m = (moe.launched(config, op)[0] or {}).get("block_m")
            first, where = found.setdefault(place := _place(key, joined), (block_m, op))
            if first != block_m:
                raise InputError(
                    f"fused_moe_lora: at {_text(place)}: block_m is {first} in {where} but {block_m} in {op}; a "
                    "server would compute wrong results: export the whole group, and drop entries that contradict it "
                    "(--on-exist overwrite), or take a folder of its own"
                )
    return {place: block_m for place, (block_m, _) in found.items()}


def _place(key: KeyPath, joined: Mapping[KeyPath, str]) -> KeyPath:
    """Returns a key path without num_slices, in which w13 and w2 differ, and with all ranks joined to its own."""
    loras, _, m, *shape = key
    return (loras, m, joined.get((loras, *shape), shape[0]), *shape[1:])


def _of_server(op: str, key: KeyPath, shards: int) -> KeyPath:
    """Returns a key path without num_slices, and with the rank that the server was started with."""
    loras, _, m, k, *rest = key
    return (loras, m, str(int(k) * shards) if "_w13_" in op else k, *rest)


def _joined(shards: Shards) -> dict[KeyPath, str]:
    """Returns, for each (max_loras, k, n, i) whose k a server joins with others, all of these as text."""
    classes: list[set[KeyPath]] = []
    for op, key, count in ((*place, count) for place, counts in shards.items() for count in counts if count > 1):
        loras, _, k, *rest = _of_server(op, key, count)
        pair = {(loras, str(int(k) // count), *rest), (loras, k, *rest)}
        touched = [each for each in classes if each & pair]
        classes = [each for each in classes if each not in touched] + [pair.union(*touched)]
    return {shape: "+".join(sorted((s[1] for s in each), key=int)) for each in classes for shape in each}


def _text(place: KeyPath) -> str:
    names = [level for level in facts.MOE_LEVELS if level != "num_slices"]
    return ", ".join(f"{name} {key}" for name, key in zip(names, place, strict=True))


def _as_ints(place: KeyPath) -> list[int]:
    return [int(key) for key in place]
