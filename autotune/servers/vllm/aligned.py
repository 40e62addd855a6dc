"""Knows the product of the experts in one launch, on rows that the server has aligned: two ops of our plug-in.

The dims of a call are those of the server's own lookup of the experts, the levels of the files, too. An entry has the
block_m that it was timed with, and is launched where the server has aligned to that one. Source: contracts A17.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from autotune.contract import Call, Value
from autotune.servers.lookup import Failure, Lookup
from autotune.servers.vllm import facts
from autotune.servers.vllm.nested_lookup import descend
from autotune.servers.vllm.own_file import ALIGNED, NEAREST_LEVELS


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

_DEEP: Final = 256
"""Columns of x from which on a K step is long (contracts A6). The kernels' own rules have it, too, and keep it: their
sources are what studies know a kernel by. A test holds them equal."""


def default_config(op: str, dims: Mapping[str, int]) -> dict[str, Value]:
    """Returns our default, as far as a call's lookup tells: without an entry the plug-in launches it by more sizes than
    these, or leaves the call to the server's own kernel."""
    depth = dims["n"] if op == facts.ALIGNED_W13 else dims["i"]
    tiles = {"block_m": 64, "block_n": 128, "block_k": 128 if depth >= _DEEP else 64}
    return {**tiles, "column_blocks": 1, "num_warps": 4, "num_stages": 3}


def replaced(call: Call) -> list[Call]:
    """Returns the lookup of the server's own that a call does the work of."""
    return [replace(call, op=op) for op, ours in OURS.items() if ours.op == call.op]


def resolve(table: Any, call: Call) -> Lookup:
    """Looks a call up by the server's rule, except that only max_loras and m may be the nearest.

    A shape that is not there has no entry; what is no sound entry is a failure, of which the plug-in warns.
    """
    file = ALIGNED[call.op]
    node, steps, failure = descend(table, file.levels, call.dims)
    default = Lookup("default", default_config(call.op, call.dims), steps)
    if any(step.match != "exact" for step in steps if step.level not in NEAREST_LEVELS):
        return default
    if failure is not None:
        lacks = failure.level == facts.EXACT_LEVEL and failure.error == "KeyError"
        return default if lacks else Lookup("file", None, steps, failure)
    if reason := file.problem(node):
        return Lookup("file", None, steps, Failure("ValueError", "config", None, reason))
    return Lookup("file", file.launched(node), steps)
