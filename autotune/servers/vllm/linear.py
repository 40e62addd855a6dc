"""Knows the pair, shrink and expand of one linear layer: the op that the plug-in alone has, and its file.

The dims of a call are ``max_loras`` (L + 1, as the dense ops count), ``num_slices``, ``m``, ``k`` (columns of x),
``rank`` and ``n`` (the widest slice). An entry says that the pair won there, or, with zeros, that it lost. Source:
contracts A15.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from autotune.contract import Call, Config, Value
from autotune.servers.lookup import Lookup, Step, is_integer
from autotune.servers.vllm import facts
from autotune.servers.vllm.nested_lookup import descend
from autotune.servers.vllm.own_file import LINEAR, NEAREST_LEVELS

APART: Final[dict[str, Value]] = dict.fromkeys(facts.LINEAR_KEYS, 0)
"""The config that stands for shrink and expand apart, and what a lookup without an entry finds."""

MOST_TOKENS: Final = 64
"""More are not tuned: there a launch counts for little beside what it does (contracts A15)."""


def is_apart(config: Config) -> bool:
    """Tells whether a config stands for shrink and expand apart."""
    return config["block_m"] == 0


def replaced(call: Call) -> list[Call]:
    """Returns the lookups of the two ops that a call does the work of (contracts A1)."""
    dims = call.dims
    outer = {level: dims[level] for level in ("max_loras", "num_slices", "m")}
    shrink = {**outer, "k": dims["k"], "n": dims["rank"]}
    expand = {**outer, "k": dims["rank"], "n": dims["n"], "add_inputs": 1}
    return [replace(call, op="shrink", dims=shrink), replace(call, op="expand", dims=expand)]


def resolve(table: Any, dims: Mapping[str, int]) -> Lookup:
    """Looks a call up as the plug-in does: at the nearest max_loras and m, and exactly otherwise.

    It never fails: without a sound entry, and beyond the largest m of a file, it comes to the default, for which the
    plug-in takes the pair's own.
    """
    node, steps, failure = descend(table, LINEAR.levels, dims)
    if failure is None and dims["m"] > max(_token_counts(table, steps)):
        return Lookup("default", dict(APART), steps)
    if any(step.match != "exact" for step in steps if step.level not in NEAREST_LEVELS):
        return Lookup("default", dict(APART), steps)
    if failure:
        lacks = failure.level == facts.EXACT_LEVEL and failure.error == "KeyError"
        return Lookup("default", dict(APART), steps, warnings=() if lacks else (failure.message,))
    if reason := LINEAR.problem(node):
        return Lookup("default", dict(APART), steps, warnings=(reason,))
    return Lookup("file", LINEAR.launched(node), steps)


def _token_counts(table: Any, steps: Sequence[Step]) -> list[int]:
    """Lists the m of the part of a file that a lookup has gone down to."""
    node = table
    for step in steps[: LINEAR.levels.index("m")]:
        node = node[step.taken]
    return [int(key) for key in node if is_integer(key)]
