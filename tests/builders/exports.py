"""Results to export, and what an export leaves in a folder, for vLLM's dense ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune.contract import Call, Config
from autotune.export.export import ExportReport
from autotune.export.file import ExportItem
from autotune.servers import KeyPath, Lookup, Table, files, provenance
from autotune.servers.vllm import facts
from autotune.servers.vllm.server import VLLM

GPU = "NVIDIA H200"
SHRINK = "NVIDIA_H200_SHRINK.json"
EXPAND = "NVIDIA_H200_EXPAND_TRUE.json"

KEY = ("5", "1", "64", "4096", "16")
ALIAS = ("4", "1", "64", "4096", "16")
"""The further key of a result at `KEY`."""

TUNED: Config = {"block_m": 128, "block_n": 32, "block_k": 64, "split_k": 2, "num_warps": 8, "num_stages": 3}


def at(*key: str) -> Call:
    """Returns the shrink that is looked up at a key."""
    return Call("vllm", "shrink", dict(zip(facts.DENSE_LEVELS, map(int, key or KEY), strict=True)))


def of_kind(report: ExportReport, kind: provenance.Kind) -> list[provenance.Record]:
    """Returns the entries of a kind that an export wrote."""
    return [record for record in report.records if record.kind == kind]


def shrink(m: int, k: int = 4096, num_slices: int = 1) -> Call:
    return at("5", str(num_slices), str(m), str(k), "16")


def expand() -> Call:
    return Call("vllm", "expand", {"max_loras": 5, "num_slices": 3, "m": 64, "k": 16, "n": 4096, "add_inputs": 1})


def item(call: Call | None = None, block_m: int = 128, study: str = "s", incumbent: bool = False) -> ExportItem:
    return ExportItem(study, call or at(), {**TUNED, "block_m": block_m}, incumbent, GPU, {"backend": "replay"})


def entry(block_m: int = 128) -> dict[str, Any]:
    """Returns what is written for an item with this block_m."""
    return item(block_m=block_m).entry(VLLM)


def table(folder: Path, file: str = SHRINK) -> Table:
    return files.read_table(folder / file, facts.DENSE_LEVELS)


def m_keys(folder: Path, num_slices: int = 1) -> list[int]:
    """Returns the token counts that the shrink file holds."""
    return sorted({int(key[2]) for key in table(folder) if key[1] == str(num_slices)})


def put(folder: Path, content: Table, file: str = SHRINK) -> None:
    """Writes a file that is not from this tool."""
    (folder / file).write_text(files.table_text(content))


def records(folder: Path) -> dict[KeyPath, provenance.Record]:
    return {record.key: record for record in provenance.read(folder) if record.file == SHRINK}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != files.LOCK_NAME}


def served(folder: Path, file: str = SHRINK) -> Callable[[Call], Lookup]:
    """Returns the server's lookup in a file that is read once."""
    content = files.read_json(folder / file)
    return lambda call: VLLM.resolve(content, call)


class Killed(BaseException):
    """Stands for the process's end: nothing catches it."""


def die_after(monkeypatch: pytest.MonkeyPatch, replacements: int) -> None:
    """Lets so many files be replaced, then dies."""
    left: Iterator[int] = iter(range(replacements))
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise Killed
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
