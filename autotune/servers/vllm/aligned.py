"""Knows the product of the experts in one launch, on rows that the server has aligned: two ops of our plug-in.

The dims of a call are those of the server's own lookup of the experts, the levels of the files, too. An entry has the
block_m that it was timed with, and is launched where the server has aligned to that one. Source: contracts A17.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from autotune.contract import Call, Config, Value
from autotune.errors import InputError, one_of
from autotune.servers import stand_back
from autotune.servers.launchable import unlaunchable
from autotune.servers.lookup import Failure, Lookup
from autotune.servers.vllm import facts
from autotune.servers.vllm.nested_lookup import descend


@dataclass(frozen=True)
class OwnOp:
    """An op of ours that does the work of one of the server's lookups, and its built-in kernel."""

    op: str
    kernel: str


OURS: Final[Mapping[str, OwnOp]] = {
    facts.W13_SHRINK: OwnOp(facts.ALIGNED_W13, "aligned_moe_lora_gate_up"),
    facts.W2_SHRINK: OwnOp(facts.ALIGNED_W2, "aligned_moe_lora_down"),
}
"""By the server's lookup: of its two, which agree in block_m, the shrink's alone is read."""

_NEAREST_LEVELS: Final = ("max_loras", "m")
_DEEP: Final = 256


def default_config(op: str, dims: Mapping[str, int]) -> dict[str, Value]:
    """Returns our default, as far as a call's lookup tells: without an entry the plug-in launches it by more sizes than
    these, or leaves the call to the server's own kernel."""
    depth = dims["n"] if op == facts.ALIGNED_W13 else dims["i"]
    tiles = {"block_m": 64, "block_n": 128, "block_k": 128 if depth >= _DEEP else 64}
    return {**tiles, "column_blocks": 1, "num_warps": 4, "num_stages": 3}


def file_name(gpu: str, op: str) -> str:
    """Names the file of an op, for a GPU as file names spell it."""
    return f"{gpu}_{op.upper()}.json"


def is_file(file: str) -> bool:
    """Tells whether a file of this name is of one of the ops."""
    match = facts.FILE.fullmatch(file)
    return match is not None and match["op"].lower() in facts.ALIGNED_OPS


def entry(config: Config, op: str) -> dict[str, Value]:
    """Returns the JSON value for a config.

    Raises:
        InputError: If the config lacks a key, or has one that the op does not know.
    """
    if set(config) != set(facts.ALIGNED_KEYS):
        raise InputError(f"vllm {op}: got a config of {one_of(config)}; needed: {one_of(facts.ALIGNED_KEYS)}")
    return {key: config[key] for key in facts.ALIGNED_KEYS}


def replaced(call: Call) -> list[Call]:
    """Returns the lookup of the server's own that a call does the work of."""
    return [replace(call, op=op) for op, ours in OURS.items() if ours.op == call.op]


def resolve(table: Any, call: Call) -> Lookup:
    """Looks a call up by the server's rule, except that only max_loras and m may be the nearest.

    A shape that is not there has no entry; what is no sound entry is a failure, of which the plug-in warns.
    """
    node, steps, failure = descend(table, facts.MOE_LEVELS, call.dims)
    default = Lookup("default", default_config(call.op, call.dims), steps)
    if any(step.match != "exact" for step in steps if step.level not in _NEAREST_LEVELS):
        return default
    if failure is not None:
        lacks = failure.level == facts.EXACT_LEVEL and failure.error == "KeyError"
        return default if lacks else Lookup("file", None, steps, failure)
    if reason := problem(node):
        return Lookup("file", None, steps, Failure("ValueError", "config", None, reason))
    return Lookup("file", {key: node[key] for key in facts.ALIGNED_KEYS}, steps)


def problem(node: Any) -> str | None:
    """Tells why the plug-in does not launch an entry, and goes on as without one; None if it is sound."""
    if not isinstance(node, dict):
        return f"got {type(node).__name__}, allowed: an object of parameters"
    if missing := [key for key in facts.ALIGNED_KEYS if key not in node]:
        return f"lacks {one_of(missing)}; tune the shape"
    config = {key: node[key] for key in facts.ALIGNED_KEYS}
    if stand_back.is_one(config):
        return None
    if bad := next(unlaunchable(config), None):
        return f"{bad[0]}: {bad[1]}"
    return None
