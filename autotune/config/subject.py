"""From a place in a config file back to the call that reads it, and on to the problem that measures it.

The inverse of `Kernel.call`. A key has what the server compares; what else makes a problem has to be assumed, and where
nothing sensible can be, the entry cannot be measured: an `InputError` says what is missing. Source: contracts
A1, A6 and B1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from autotune import servers
from autotune.contract import AnyKernel, Call, Problem, groups, registry
from autotune.errors import InputError, one_of
from autotune.servers import KeyPath
from autotune.servers.sglang.facts import FILE as SGLANG_FILE
from autotune.servers.vllm.facts import DENSE_LEVELS, MOE_LEVELS, MOE_OPS
from autotune.servers.vllm.facts import FILE as VLLM_FILE

DEFAULT_DTYPE = "float16"

# The fields of problems that no key tells, and from how many values on they are not spelled out.
_OPEN = (
    "dtype",
    "num_loras",
    "active_loras",
    "sort_by_lora_id",
    "slice_widths",
    "tokens",
    "workload",
    "decode_requests",
    "shares",
    "num_experts",
    "top_k",
    "fully_sharded",
    "tp",
    "ep",
    "routing",
)
_MANY = 4


@dataclass(frozen=True)
class Place:
    """One entry's place, as its server gets there.

    Attributes:
        gpu: The server's GPU, as the file's name spells it.
        call: The lookup that finds the very entry.
    """

    gpu: str
    call: Call


@dataclass(frozen=True)
class Assumptions:
    """What is taken for the fields of problems that keys do not tell.

    Attributes:
        flags: By the names that `Kernel.problem_from_flags` takes; absent or None where the kernel's default will do.
            Widths of slices hold for the entries that they add up to.
        path: Which kernels of a group a server runs, one of `groups.PATHS`.
    """

    flags: Mapping[str, Any]
    path: str = "auto"


@dataclass(frozen=True)
class Subject:
    """What to measure an entry by: the kernel, by name, and one problem that launches by its key."""

    kernel: str
    problem: Problem

    def to_json(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "problem": self.problem.to_json()}


def place_of(path: PurePath, key: KeyPath) -> Place:
    """Returns the lookup that ends at this key of a file.

    Args:
        path: Of which the file's name counts, and for SGLang the folder's.

    Raises:
        InputError: If no server looks there.
    """
    if match := VLLM_FILE.fullmatch(path.name):
        place = Place(match["gpu"], _vllm_call(match["op"].lower(), key))
    elif match := SGLANG_FILE.fullmatch(path.name):
        dims = {name: int(match[name]) for name in ("K", "R", "S")}
        folder = path.parent.name
        triton = folder.removeprefix("triton_").replace("_", ".") if folder.startswith("triton_") else None
        call = Call("sglang", match["op"], {**dims, **_numbers(("chunk_size",), key)}, triton)
        place = Place(match["device"], call)
    else:
        raise InputError(f"{path.name}: no file of vLLM's or SGLang's LoRA kernels has this name")
    if servers.get(place.call.server).key_path(place.call) != key:
        raise InputError(f"{'/'.join(key)}: no server looks up a key that is spelled so")
    return place


def subject_of(call: Call, assumptions: Assumptions) -> Subject:
    """Returns a problem that makes this call, and its kernel.

    Raises:
        InputError: If the problem cannot be known, or no kernel makes the call.
    """
    given = {"dtype": DEFAULT_DTYPE} | {name: v for name, v in assumptions.flags.items() if v is not None}
    shards = int(given.get("tp", 1)) if int(given.get("fully_sharded", 0)) else 1
    flags = {**given, **_told(call, shards), "slice_widths": _widths(call, given.get("slice_widths"))}
    for name, kernel in _kernels(call, flags, assumptions.path):
        problem = kernel.problem_from_flags(flags)
        found = kernel.call(problem)
        if found is not None and replace(found, triton=call.triton) == call:
            return Subject(name, problem)
    raise InputError(f"{call.server} {call.op}: no kernel here launches by this key")


def assumed(subjects: Iterable[Subject]) -> str:
    """Formats in one line the fields that keys do not tell and what they are in these problems."""
    values: dict[str, dict[str, None]] = {}
    for subject in subjects:
        for name, text in _open_fields(subject.problem).items():
            values.setdefault(name, {})[text] = None
    return "; ".join(
        f"{name} {one_of(texts) if len(texts) < _MANY else 'as the problems say'}" for name, texts in values.items()
    )


def _vllm_call(op: str, key: KeyPath) -> Call:
    if op in MOE_OPS:
        return Call("vllm", op, _numbers(MOE_LEVELS, key))
    op, _, adds = op.partition("_")
    dims = _numbers(DENSE_LEVELS, key)
    if dims["max_loras"] < 2:
        raise InputError(f"max_loras {key[0]}: a server looks up one more than its --max-loras, 2 or more")
    return Call("vllm", op, {**dims, "add_inputs": int(adds == "true")} if adds else dims)


def _numbers(levels: tuple[str, ...], key: KeyPath) -> dict[str, int]:
    if len(key) != len(levels) or not all(part.isdecimal() for part in key):
        raise InputError(f"{'/'.join(key) or 'the top'}: no entry that a server finds; its levels: {one_of(levels)}")
    return {level: int(part) for level, part in zip(levels, key, strict=True)}


def _told(call: Call, shards: int) -> dict[str, Any]:
    """Returns the flags that the call's sizes stand for."""
    d = call.dims
    if call.server == "sglang":
        told = {"lora_rank": d["R"], "num_slices": d["S"], "chunk_size": d["chunk_size"]}
        return {**told, "hidden_size": d["K"]} if call.op == "shrink" else told
    told = {"m": d["m"], "num_slices": d["num_slices"]}
    if call.op in MOE_OPS:
        # Fully sharded servers look up a shard of the rank for w13 (contracts A7).
        rank = d["k"] * shards if "_w13_" in call.op else d["k"]
        sizes = {"lora_rank": rank, "hidden_size": d["n"], "moe_intermediate_size": d["i"]}
        return {**told, **sizes, "num_loras": d["max_loras"]}
    told["num_loras"] = d["max_loras"] - 1
    if call.op == "shrink":
        return {**told, "hidden_size": d["k"], "lora_rank": d["n"]}
    return {**told, "hidden_size": d["n"], "lora_rank": d["k"], "expand_add_inputs": d["add_inputs"]}


def _widths(call: Call, given: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Returns the widths of an expand's slices; None for the kernel's default, and where there are none."""
    d = call.dims
    if call.op != "expand":
        return None
    if call.server == "vllm":
        return given if given and len(given) == d["num_slices"] and max(given) == d["n"] else None
    slices, columns = d["S"], d["K"]
    if given and len(given) == slices and sum(given) == columns:
        return given
    # Two slices are gate and up, which are alike (contracts B1).
    if slices > 2 or columns % slices:
        raise InputError(
            f"the widths of {slices} slices are not in the key; pass --slice-widths that add up to {columns}"
        )
    return (columns // slices,) * slices


def _kernels(call: Call, flags: Mapping[str, Any], path: str) -> list[tuple[str, AnyKernel]]:
    """Returns the kernels that may make the call."""
    if call.op not in MOE_OPS:
        names = [registry.of_server(call.op, call.server)]
        return [(name, registry.load(name)) for name in names]
    if missing := [flag for flag in ("num_experts", "top_k_num") if flags.get(flag) is None]:
        options = " and ".join(f"--{flag.replace('_', '-')}" for flag in missing)
        raise InputError(f"the experts are not in the key; pass {options}")
    way = groups.path_for(path, flags)
    if way == groups.ONE_SHOT and call.op.endswith("_expand"):
        raise InputError(
            "a server runs one kernel for shrink and expand here, and reads the shrink's entry only; --path two-kernel "
            "measures it all the same"
        )
    return [(name, registry.load(name)) for name in groups.FUSED_MOE_LORA.members[way]]


def _open_fields(problem: Problem) -> dict[str, str]:
    """Returns the fields of a problem that its key does not tell, except those that leave nothing to choose."""
    fields = problem.to_json()
    found = {name: fields[name] for name in _OPEN if fields.get(name) not in (None, [])}
    if found.get("active_loras") == fields.get("max_loras", fields.get("num_loras")):
        found["active_loras"] = "all"
    widths = found.get("slice_widths", [])
    if len(widths) == 1:
        del found["slice_widths"]
    elif len(set(widths)) == 1:
        found["slice_widths"] = "equal"
    return {name: "x".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in found.items()}
