"""Finds the call that looks at a place in one of vLLM's files, and its flags (contracts A1, A6, A7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from autotune.contract import Call, groups, registry
from autotune.errors import InputError
from autotune.servers.files import KeyPath
from autotune.servers.reverse_lookup import Place, ReverseLookup, numbers
from autotune.servers.vllm import facts


class VllmReverseLookup(ReverseLookup):
    """The way back from vLLM's file names and keys."""

    def place_of(self, file: PurePath, key: KeyPath) -> Place | None:
        match = facts.FILE.fullmatch(file.name)
        return Place(match["gpu"], _call(match["op"].lower(), key)) if match else None

    def flags_of(self, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        d = call.dims
        told = {"m": d["m"], "num_slices": d["num_slices"], "slice_widths": None}
        if call.op in facts.ALIGNED_OPS:
            sizes = {"lora_rank": d["k"], "hidden_size": d["n"], "moe_intermediate_size": d["i"]}
            return {**told, **sizes, "num_loras": d["max_loras"]}
        if call.op in facts.MOE_OPS:
            # Fully sharded servers look up a shard of the rank for w13 (contracts A7).
            shards = int(given.get("tp", 1)) if int(given.get("fully_sharded", 0)) else 1
            rank = d["k"] * shards if call.op in (facts.W13_SHRINK, facts.W13_EXPAND) else d["k"]
            sizes = {"lora_rank": rank, "hidden_size": d["n"], "moe_intermediate_size": d["i"]}
            return {**told, **sizes, "num_loras": d["max_loras"]}
        told["num_loras"] = d["max_loras"] - 1
        if call.op == facts.LINEAR:
            widths = _widths(call, given.get("slice_widths")) or (d["n"],) * d["num_slices"]
            return {**told, "hidden_size": d["k"], "lora_rank": d["rank"], "slice_widths": widths}
        if call.op == "shrink":
            return {**told, "hidden_size": d["k"], "lora_rank": d["n"]}
        sizes = {"hidden_size": d["n"], "lora_rank": d["k"], "expand_add_inputs": d["add_inputs"]}
        return {**told, **sizes, "slice_widths": _widths(call, given.get("slice_widths"))}

    def kernels_of(self, call: Call, flags: Mapping[str, Any], path: str) -> Sequence[str]:
        if call.op not in (*facts.MOE_OPS, *facts.ALIGNED_OPS):
            return super().kernels_of(call, flags, path)
        needed = ("num_experts", "top_k_num", *(("block_m",) if call.op in facts.ALIGNED_OPS else ()))
        if missing := [flag for flag in needed if flags.get(flag) is None]:
            options = " and ".join(f"--{flag.replace('_', '-')}" for flag in missing)
            what = "rows of a block that the server aligns to" if missing == ["block_m"] else "experts"
            raise InputError(f"the {what} are not in the key; pass {options}")
        if call.op in facts.ALIGNED_OPS:
            return super().kernels_of(call, flags, path)
        kind, _ = groups.kind_of(registry.of_server(call.op, call.server))
        way = kind.path(path, flags)
        if way == facts.ONE_SHOT and call.op in (facts.W13_EXPAND, facts.W2_EXPAND):
            raise InputError(
                "a server runs one kernel for shrink and expand here, and reads the shrink's entry only; --path "
                "two-kernel measures it all the same"
            )
        return kind.members[way]


def _call(op: str, key: KeyPath) -> Call:
    if op in (*facts.MOE_OPS, *facts.ALIGNED_OPS):
        return Call(facts.NAME, op, numbers(facts.MOE_LEVELS, key))
    op, _, adds = op.removeprefix("lora_").partition("_")
    dims = numbers(facts.LINEAR_LEVELS if op == facts.LINEAR else facts.DENSE_LEVELS, key)
    if dims["max_loras"] < 2:
        raise InputError(f"max_loras {key[0]}: a server looks up one more than its --max-loras, 2 or more")
    return Call(facts.NAME, op, {**dims, "add_inputs": int(adds == "true")} if adds else dims)


def _widths(call: Call, given: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Returns the given widths if the call may be of such slices, of which it has the largest; None without."""
    d = call.dims
    return given if given and len(given) == d["num_slices"] and max(given) == d["n"] else None
