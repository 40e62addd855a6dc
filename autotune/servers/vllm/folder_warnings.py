"""Warns of what a vLLM server may trip over in a written folder: slices that are missing, and files beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from autotune.errors import one_of
from autotune.servers.files import KeyPath, Table
from autotune.servers.vllm import dense, facts, moe


def warnings(directory: Path, tables: Mapping[str, Table], looked_up: Mapping[str, Collection[KeyPath]]) -> list[str]:
    """Tells what may go wrong on a server that reads these files (by name) in this folder; one line each.

    Args:
        looked_up: By file, all that the server looks up in it, where that is known: else it is guessed.
    """
    found = []
    for file, table in tables.items():
        if op := moe.op_of_file(file):
            found += moe.entry_warnings(file, table, op)
        else:
            needed = {int(path[1]) for path in looked_up.get(file, ())} or facts.USUAL_SLICES
            found += _missing_slices(file, table, needed) + dense.entry_warnings(file, table)
    return found + _missing_files(directory, tables, known=any(looked_up.values()))


def _missing_slices(file: str, table: Table, needed: Collection[int]) -> list[str]:
    have = {int(path[1]) for path in table}
    if have >= set(needed):
        return []
    return [
        f"{file}: holds num_slices {one_of(sorted(have))} only; a server whose model has layers of another "
        "(qkv 3, gate_up 2, others 1) stops with KeyError at start: tune those shapes too"
    ]


def _missing_files(directory: Path, tables: Mapping[str, Table], known: bool) -> list[str]:
    """Tells which files of fused MoE LoRA are not there though the folder seems to need them (contracts A2, A6).

    Args:
        known: All lookups of a model are; had they been of experts, too, there would be files of them.
    """
    there = {op for path in directory.glob("*.json") if (op := moe.op_of_file(path.name))}
    if there:
        if missing := [op.upper() for op in facts.MOE_OPS if op not in there]:
            return [
                f"{directory}: lacks {one_of(missing)} beside others of the four; a server may compute wrong "
                "results: tune fused_moe_lora, or remove the others"
            ]
        return []
    others = [table for file, table in tables.items() if not moe.op_of_file(file)]
    slices = {int(path[1]) for table in others for path in table}
    if known or 3 not in slices or 2 in slices:
        return []
    return [
        f"{directory}: has qkv but no gate_up; if the model is an MoE, a server with this folder runs its LoRA with a "
        "fixed block_m of 64 instead of the base model's: tune fused_moe_lora, too"
    ]
