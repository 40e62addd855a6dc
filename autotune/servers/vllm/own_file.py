"""Knows what the files of the ops that only our plug-in has share: their names, their entries, and what is wrong with
one (contracts A15, A17)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from autotune.contract import Config, Value
from autotune.errors import InputError, one_of
from autotune.servers import stand_back
from autotune.servers.launchable import unlaunchable
from autotune.servers.vllm import facts

NEAREST_LEVELS: Final = ("max_loras", "m")
"""The levels at which a lookup takes the nearest key; at the others it takes the exact one."""


@dataclass(frozen=True)
class OwnFile:
    """A kind of file that the plug-in alone reads.

    Attributes:
        op: Whose configs it holds.
        label: The op as the file's name spells it, in capitals.
        levels: Of its keys, outermost first.
        keys: Of an entry.
        without: What the plug-in does where there is no sound entry.
        warp_depth: Columns of x that a warp takes at a time, at least.
        later: Keys that came later, with what entries without them stand for.
    """

    op: str
    label: str
    levels: tuple[str, ...]
    keys: tuple[str, ...]
    without: str
    warp_depth: int = 0
    later: Mapping[str, Value] = field(default_factory=dict)

    def name(self, gpu: str) -> str:
        """Names the file, for a GPU as file names spell it."""
        return f"{gpu}_{self.label}.json"

    def is_name(self, file: str) -> bool:
        """Tells whether a file of this name is of the op."""
        match = facts.FILE.fullmatch(file)
        return match is not None and match["op"] == self.label

    def entry(self, config: Config) -> dict[str, Value]:
        """Returns the JSON value for a config.

        Raises:
            InputError: If the config lacks a key, or has one that the op does not know.
        """
        if {*self.later, *config} != set(self.keys):
            raise InputError(f"vllm {self.op}: got a config of {one_of(config)}; needed: {one_of(self.keys)}")
        return self.launched(config)

    def launched(self, node: Config) -> dict[str, Value]:
        """Returns what is launched by a sound entry: other keys are not read."""
        known = {key: node[key] for key in self.keys if key in node}
        return stand_back.entry(self.keys) if stand_back.is_one(known) else {**self.later, **known}

    def problem(self, node: Any) -> str | None:
        """Tells why the plug-in launches nothing by an entry, and goes on as without it; None if it is sound."""
        if not isinstance(node, dict):
            return f"got {type(node).__name__}, allowed: an object of parameters"
        if missing := [key for key in self.keys if key not in node and key not in self.later]:
            return f"lacks {one_of(missing)}; tune the shape"
        config = self.launched(node)
        if stand_back.is_one(config):
            return None
        if bad := next(unlaunchable(config), None):
            return f"{bad[0]}: {bad[1]}"
        depth, warps = node["block_k"], node["num_warps"]
        if depth // warps < self.warp_depth:
            return f"block_k {depth} with num_warps {warps}: a warp needs {self.warp_depth} columns"
        return None


LINEAR: Final = OwnFile(
    facts.LINEAR,
    "LORA_LINEAR",
    facts.LINEAR_LEVELS,
    facts.LINEAR_KEYS,
    without="calls run as without an entry",
    warp_depth=16,
    later={"launches": 1},
)
ALIGNED: Final[Mapping[str, OwnFile]] = {
    op: OwnFile(op, op.upper(), facts.MOE_LEVELS, facts.ALIGNED_KEYS, without="calls run as without an entry")
    for op in facts.ALIGNED_OPS
}
BY_OP: Final[Mapping[str, OwnFile]] = {facts.LINEAR: LINEAR, **ALIGNED}
