"""Finds the call that looks at a place in one of SGLang's files, and its flags (contracts B1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from autotune.contract import Call
from autotune.errors import InputError
from autotune.servers.files import KeyPath
from autotune.servers.reverse_lookup import Place, ReverseLookup, numbers
from autotune.servers.sglang import facts

_MOST_EQUAL_SLICES = 2


class SglangReverseLookup(ReverseLookup):
    """The way back from SGLang's file names and keys."""

    def place_of(self, file: PurePath, key: KeyPath) -> Place | None:
        match = facts.FILE.fullmatch(file.name)
        if match is None:
            return None
        dims = {name: int(match[name]) for name in facts.FILE_DIMS} | numbers(facts.LEVELS, key)
        return Place(match["device"], Call(facts.NAME, match["op"], dims, facts.version_of(file.parent.name)))

    def flags_of(self, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        d = call.dims
        told = {"lora_rank": d["R"], "num_slices": d["S"], "chunk_size": d["chunk_size"]}
        if call.op == "shrink":
            return {**told, "hidden_size": d["K"], "slice_widths": None}
        return {**told, "slice_widths": _widths(d["S"], d["K"], given.get("slice_widths"))}


def _widths(slices: int, columns: int, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """Returns the widths of an expand's slices: those given if they add up to its columns, or else equal ones."""
    if given and len(given) == slices and sum(given) == columns:
        return given
    # Two slices are gate and up, which are alike (contracts B1).
    if slices > _MOST_EQUAL_SLICES or columns % slices:
        raise InputError(
            f"the widths of {slices} slices are not in the key; pass --slice-widths that add up to {columns}"
        )
    return (columns // slices,) * slices
